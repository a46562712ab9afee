"""Learn from XTCAV shot images: data in DVC, runs in MLflow, searches by Optuna."""
