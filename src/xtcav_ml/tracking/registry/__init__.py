"""Models in MLflow's registry."""
