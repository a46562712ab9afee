"""Searches: the only room that imports Optuna."""
