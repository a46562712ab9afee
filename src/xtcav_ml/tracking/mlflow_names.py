"""Names in MLflow, and its address; apart from mlflow_store, so that `record` and tests ask without MLflow's 2.5 s import."""

import os
import re
from pathlib import Path

EXPERIMENT, NOTES = "xtcav", "xtcav-notes"  # MLflow's experiments: the project's own runs, and those of the notes
LINEAGE = "lineage"  # where a run has params.yaml, dvc.lock, diff.patch and the code of its stages among its artifacts

RUN_TAG, KEY_TAG, MODEL_TAG, EVALUATION_TAG = "run.key", "lineage.key", "model.md5", "evaluation.md5"
CODE_TAG = "code.fingerprint"
"""Tags by which a run is looked up: its journal's key, what decided its training, its model, the model's evaluation."""

METRIC_SECTIONS = (
    ("val_predicted_", "predicted/", ""),
    ("val_confusion/", "validation_confusion/", ""),
    ("train_", "", "/train"),
    ("val_", "", "/validation"),
    ("test_", "test/", ""),
    ("seconds/", "system/seconds_", ""),
    ("usage/", "system/", ""),
)
"""Beginnings of metrics' names, and the beginning and end of each in MLflow."""

COMMON = ("test_accuracy", "test_cross_entropy")  # test metrics that are shown with those of training and validation


def metric_name(name: str) -> str:
    """Return a metric's name in MLflow, whose page shows the text before a slash as a section, in alphabetical order.

    So a run opens with the accuracies of training and validation in one section, then cross-entropy and loss; the usage of
    the process is on the page of system metrics.
    """
    if name in COMMON:
        return f"{name.removeprefix('test_')}/test"
    for begin, before, after in METRIC_SECTIONS:
        if name.startswith(begin):
            return storable_name(f"{before}{name.removeprefix(begin)}{after}")
    return storable_name(name)


def storable_name(name: str) -> str:
    """Return a parameter's or metric's name with `_` for each character that MLflow refuses."""
    return re.sub(r"[^\w./: -]", "_", name)


def of_test(name: str) -> bool:
    """Return whether metric `name` of MLflow was measured on the test set."""
    return name.startswith("test/") or name.endswith("/test")


def store_uri(root: Path) -> str:
    """Return MLFLOW_TRACKING_URI, or the SQLite database in the project's `mlruns`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve()}/mlruns/mlflow.db"
