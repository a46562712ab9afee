"""Where a result comes from: git, dvc.lock, environment."""
