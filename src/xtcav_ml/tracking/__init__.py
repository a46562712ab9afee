"""Runs on their way to MLflow: the only room that imports it."""
