"""Names in MLflow, and its address; apart from mlflow_store, so that `record` and tests ask without MLflow's 2.5 s import."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xtcav_ml.science.metric_names import HEADLINE
from xtcav_ml.system.errors import UserError, masked

EXPERIMENT, NOTES = "xtcav", "xtcav-notes"  # MLflow's experiments: the project's own runs, and those of the notes
OWN_STORE = "mlruns/mlflow.db"  # the store of a project, unless MLFLOW_TRACKING_URI names another
RUN_ID = "{run_id}"  # stands in a tag for the id that the run has once it is in MLflow
ENVIRONMENT, DEVICE = "environment.json", "device"  # below LINEAGE: libraries and machine; in it, what computed
LINEAGE = "lineage"  # where a run has params.yaml, dvc.lock, diff.patch and the code of its stages among its artifacts

RUN_TAG, KEY_TAG, MODEL_TAG, EVALUATION_TAG = "run.key", "lineage.key", "model.md5", "evaluation.md5"
WRITER_TAG = "run.writer"
GROUP_TAG, SEEDS_TAG, STAGE_TAG = "group.key", "group.seeds", "stage"
GROUP_STAGE, SEED_STAGE = "group", "seed"
"""Tags by which a run is looked up: its journal's key, what decided its training, its model, the model's evaluation; the
journal of whoever created it; what decided the group of seeds that it belongs to, or is; the seeds of that; what made it."""

OF_NOTES = "experiment"  # tag of a run of the notes: which of experiments/*.yaml it is of
REBUILT_TAG = "rebuilt"  # of a run that was made from results on disk, perhaps on another machine than the training

SYSTEM = "system/"
"""Begins the names of metrics of the process, which MLflow shows on a page of their own; all others are those of the files."""

ACCURACY, *ACCURACY_INTERVAL, CROSS_ENTROPY = HEADLINE
VALIDATION_ACCURACY, VALIDATION_LOSS = "val_accuracy", "val_loss"

EARLIER_METRICS = (
    ("val_predicted_", "predicted/", ""),
    ("val_confusion/", "validation_confusion/", ""),
    ("train_", "", "/train"),
    ("val_", "", "/validation"),
    ("accuracy_", "test/accuracy_", ""),
    ("accuracy", "accuracy/test", ""),
    ("cross_entropy", "cross_entropy/test", ""),
)
"""Beginnings of metrics' names, and the beginning and end of each in MLflow with which earlier versions logged it."""


def earlier_name(name: str) -> str:
    """Return the name in MLflow by which earlier versions of this program logged a metric of the test or of an epoch."""
    if number := re.fullmatch(r"regression\.(.+)\.(\w+)", name):
        return "test/{}_{}".format(*number.groups())
    for begin, before, after in EARLIER_METRICS:
        if name.startswith(begin):
            return f"{before}{name.removeprefix(begin)}{after}"
    return name


def storable_name(name: str) -> str:
    """Return a parameter's or metric's name with `_` for what MLflow refuses: characters, and parts that a path has not."""
    plain = re.sub(r"[^\w./: -]", "_", name)
    return "/".join("_" if part in ("", ".", "..") else part for part in plain.split("/"))


def storable(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by their names in MLflow; one that is then another's gets a `_` more, as `<1` and `>1` do."""
    named: dict[str, Any] = {}
    for name, value in values.items():
        stored = storable_name(name)
        while stored in named:
            stored += "_"
        named[stored] = value
    return named


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
