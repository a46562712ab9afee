"""params.yaml as frozen, validated sections, the schema of raw files, and where files are. Imports `system` only."""
