"""A team's MLflow server, beside the package: it needs `xtcav_ml.system`, and nothing needs it."""
