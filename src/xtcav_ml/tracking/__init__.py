"""Runs: what they tell, on disk first, and on its way to MLflow."""
