"""A team's MLflow server."""
