"""Names in MLflow, and its address; apart from mlflow_store, so that `record` and tests ask without MLflow's 2.5 s import."""

import os
import re
from pathlib import Path

from xtcav_ml.system.errors import UserError, masked

EXPERIMENT, NOTES = "xtcav", "xtcav-notes"  # MLflow's experiments: the project's own runs, and those of the notes
OWN_STORE = "mlruns/mlflow.db"  # the store of a project, unless MLFLOW_TRACKING_URI names another
RUN_ID = "{run_id}"  # stands in a tag for the id that the run has once it is in MLflow
ENVIRONMENT = "environment.json"  # below LINEAGE: libraries and machine
LINEAGE = "lineage"  # where a run has params.yaml, dvc.lock, diff.patch and the code of its stages among its artifacts

RUN_TAG, KEY_TAG, MODEL_TAG, EVALUATION_TAG = "run.key", "lineage.key", "model.md5", "evaluation.md5"
WRITER_TAG = "run.writer"
"""Tags by which a run is looked up: its journal's key, what decided its training, its model, the model's evaluation; and the
journal of whoever created it."""

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


ACCURACY = metric_name("test_accuracy")
ACCURACY_INTERVAL = (metric_name("test_accuracy_low"), metric_name("test_accuracy_high"))
VALIDATION_ACCURACY, VALIDATION_LOSS = metric_name("val_accuracy"), metric_name("val_loss")


def of_test(name: str) -> bool:
    """Return whether metric `name` of MLflow was measured on the test set."""
    return name.startswith("test/") or name.endswith("/test")


def own_database(root: Path) -> Path:
    """Return the path of the project's own store, an SQLite database."""
    return root.resolve() / OWN_STORE


def store_uri(root: Path) -> str:
    """Return MLFLOW_TRACKING_URI, or the address of the project's own store.

    Raises UserError if MLflow would take a part of the path for something else.
    """
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return uri
    path = own_database(root)
    if marks := sorted(set("?%") & set(str(path))):
        raise UserError(
            f"{path.parent}: no place for MLflow's database (found {marks[0]!r} in the path, expected neither ? nor %). Fix: "
            "rename the folder, or set MLFLOW_TRACKING_URI"
        )
    return f"sqlite:///{path}"


def store_name(root: Path) -> str:
    """Return the store as files of the project name it, which may be moved: OWN_STORE, or an address without password."""
    uri = store_uri(root)
    return OWN_STORE if uri == f"sqlite:///{own_database(root)}" else masked(uri)
