"""Names in MLflow, and its address; apart from mlflow_store, so that `record` and tests ask without MLflow's 2.5 s import."""

import os
import re
from pathlib import Path

EXPERIMENT, NOTES = "xtcav", "xtcav-notes"
"""MLflow's experiments: the project's own runs, and those of the notes' experiments."""

RUN_TAG, KEY_TAG, MODEL_TAG, EVALUATION_TAG = "run.key", "lineage.key", "model.md5", "evaluation.md5"
CODE_TAG = "code.fingerprint"
"""Tags by which a run is looked up: its journal's key, what decided its training, its model, the model's evaluation."""

SECTIONS = (
    ("val_predicted_", "predicted/", ""),
    ("val_confusion/", "validation_confusion/", ""),
    ("train_", "", "/train"),
    ("val_", "", "/validation"),
    ("test_", "test/", ""),
    ("seconds/", "system/seconds_", ""),
    ("usage/", "system/", ""),
)
"""How metrics begin, and what they begin and end with in MLflow."""

COMMON = ("test_accuracy", "test_cross_entropy")
"""Test metrics that stand beside those of training and validation."""


def metric_name(name: str) -> str:
    """Return what a metric is called in MLflow, whose page draws what stands before a slash as a section, by the alphabet.

    So a run opens with accuracy, of training and validation in one section, then come cross-entropy and loss; what the
    process used is on the page of system metrics.
    """
    if name in COMMON:
        return f"{name.removeprefix('test_')}/test"
    for begin, before, after in SECTIONS:
        if name.startswith(begin):
            return allowed(f"{before}{name.removeprefix(begin)}{after}")
    return allowed(name)


def allowed(name: str) -> str:
    """Return a parameter's or metric's name as MLflow takes it: a dataset's may hold other characters."""
    return re.sub(r"[^\w./: -]", "_", name)


def of_test(name: str) -> bool:
    """Return whether what MLflow calls `name` was measured on the test set."""
    return name.startswith("test/") or name.endswith("/test")


def store_uri(root: Path) -> str:
    """Return MLFLOW_TRACKING_URI, or the SQLite database in the project's `mlruns`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve()}/mlruns/mlflow.db"
