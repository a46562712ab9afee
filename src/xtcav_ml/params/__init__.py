"""params.yaml as frozen, validated sections: one module a section, so that a stage depends only on what it reads."""
