"""Runs by what a person calls them: an id, the first digits of one, or a name; and those of a state of the project."""

import contextlib
import json
import re
import tempfile
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from mlflow.entities import Run

from xtcav_ml.lineage import lineage
from xtcav_ml.lineage.environment import CLASS
from xtcav_ml.system.errors import DAMAGES, UserError, masked
from xtcav_ml.tracking import sqlite_store
from xtcav_ml.tracking.mlflow_names import (
    ACCURACY,
    ACCURACY_INTERVAL,
    ENVIRONMENT,
    GROUP_STAGE,
    GROUP_TAG,
    KEY_TAG,
    LINEAGE,
    NOTES,
    REBUILT_TAG,
    SEEDS_TAG,
    STAGE_TAG,
    VALIDATION_ACCURACY,
    earlier_name,
    store_uri,
)
from xtcav_ml.tracking.mlflow_store import answering, connect, download, search_runs

DIGITS = "[0-9a-f]{4,32}"
"""An id of a run, or enough of its beginning."""

LISTED = (ACCURACY, *ACCURACY_INTERVAL, VALIDATION_ACCURACY)

OF_A_LIST = re.compile(r"\.\d+(\.|$)")
"""In a parameter's name: earlier versions of this program logged each value of a list."""


def find_run(root: Path, name: str, others: str = "") -> Run:
    """Return the run whose id is or begins with `name`, or which has that name, of this project or of the notes.

    Raises UserError if it is none or several; the message says what `others` the caller takes.
    """
    store, own = connect(root)
    with answering(root):
        notes = store.get_experiment_by_name(NOTES)
        experiments = [own, *([notes.experiment_id] if notes else [])]
        runs = [run for wanted in _filters(name) for run in store.search_runs(experiments, wanted, max_results=3)]
    runs = list({run.info.run_id: run for run in runs}.values())
    if len(runs) != 1:
        several = f"several runs, {', '.join(run.info.run_id[:8] for run in runs)}" if runs else "no run"
        raise UserError(
            f"{name}: not one run in {masked(store_uri(root))} (found {several}, expected a run's id, at least 4 of its first "
            f"digits, or its name{others}). Fix: choose one that `xtcav runs` lists"
        )
    return runs[0]


def _filters(name: str) -> list[str]:
    """Return what MLflow is asked for: ids that begin so, and names; nothing where `name` could be no value of a filter."""
    by_id = [f"attributes.run_id LIKE '{name}%'"] if re.fullmatch(DIGITS, name) else []
    by_name = [] if set(name) & set("\\'`\0") else [f"attributes.run_name = '{name}'"]
    return by_id + by_name


def runs_of(root: Path, read_file: Callable[[str], bytes]) -> list[Run]:
    """Return the runs of the training whose inputs `read_file` reads by name, newest first. Raises UserError."""
    key = lineage.of_revision("train", read_file).key
    store, experiment = connect(root)
    with answering(root):
        return search_runs(store, experiment, {KEY_TAG: key})


def newest(root: Path, limit: int) -> list[Run]:
    """Return the `limit` newest runs of training and groups of seeds, newest first.

    Raises UserError if the store does not answer.
    """
    store, experiment = connect(root)
    runs: list[Run] = []
    with answering(root):
        for stage in ("train", GROUP_STAGE):  # a filter of MLflow has no `or`
            wanted, newest = f"tags.stage = '{stage}'", ["attributes.start_time DESC"]
            runs += store.search_runs([experiment], wanted, max_results=limit, order_by=newest)
    return sorted(runs, key=lambda run: int(run.info.start_time), reverse=True)[:limit]


def group_of(root: Path, run: Run) -> Run | None:
    """Return the run of the group of seeds of a run's settings, perhaps itself; None if there is none. Raises UserError."""
    key = run.data.tags.get(GROUP_TAG)
    if not key:
        return None
    store, experiment = connect(root)
    with answering(root):
        groups = search_runs(store, experiment, {GROUP_TAG: key, STAGE_TAG: GROUP_STAGE})
    return next((group for group in groups if group.info.status == "FINISHED"), None)


def spread_of_seeds(root: Path, run: Run) -> dict[str, float] | None:
    """Return the metrics of the group of seeds of a run's settings, and `seeds`, how many it has; None without a group.

    Raises UserError.
    """
    group = group_of(root, run)
    if group is None:
        return None
    return {**group.data.metrics, "seeds": float(len(group.data.tags.get(SEEDS_TAG, "").split(", ")))}


def processor_of(root: Path, run: Run) -> str:
    """Return the class of processor that a run was trained on; "" if it names none, or was rebuilt on some machine later."""
    if REBUILT_TAG in run.data.tags:
        return ""
    with contextlib.suppress(UserError, *DAMAGES), tempfile.TemporaryDirectory() as folder:
        path = download(root, run.info.run_id, f"{LINEAGE}/{ENVIRONMENT}", Path(folder))
        return str(json.loads(path.read_text(encoding="utf-8")).get(CLASS, ""))
    return ""


def processor_of_training(root: Path, key: str) -> str:
    """Return the class of processor of the newest run of a training with this `lineage.key` in the store of a project.

    "" if there is none which names it. A server is not asked: results on disk are compared without one.
    """
    with contextlib.suppress(UserError):
        database = sqlite_store.database_of(store_uri(root))
        if database is None or not database.is_file():
            return ""
        store, experiment = connect(root)
        with answering(root):
            runs = search_runs(store, experiment, {KEY_TAG: key})
        return next(filter(None, (processor_of(root, run) for run in runs)), "")
    return ""


def describe(run: Run, current: Mapping[str, str]) -> dict[str, Any]:
    """Return what a list says of a run, as JSON has it; `current` are the parameters in params.yaml, by dotted name."""
    metrics, tags = run.data.metrics, run.data.tags
    known = {name: metrics.get(name, metrics.get(earlier_name(name))) for name in LISTED}
    interval = [known[name] for name in ACCURACY_INTERVAL if known[name] is not None]
    stored = run.data.params
    return {
        "run_id": run.info.run_id,
        "name": run.info.run_name,
        "started": datetime.fromtimestamp(run.info.start_time / 1000).astimezone().isoformat(timespec="seconds"),
        "state": run.info.status,
        "accuracy": known[ACCURACY],
        "accuracy_interval": interval or None,
        "val_accuracy": known[VALIDATION_ACCURACY],
        "differs": {
            name: value
            for name, value in stored.items()
            if not OF_A_LIST.search(name) and (name not in current or value != current[name])
        },
        "lineage_key": tags.get(KEY_TAG),
        "commit": tags.get("git.commit"),
        "edited": tags.get("git.dirty") == "true",
        "rebuilt": REBUILT_TAG in tags,
        "seeds": tags.get(SEEDS_TAG),
    }
