"""The programs of dvc.yaml's stages. They never import tracking: logging cannot cause retraining."""
