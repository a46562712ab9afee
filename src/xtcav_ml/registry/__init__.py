"""Models in MLflow: how they are packed, which version is the champion, and that a file is what was registered."""
