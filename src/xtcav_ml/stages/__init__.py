"""The stages of dvc.yaml: thin programs, paths in, paths out."""
