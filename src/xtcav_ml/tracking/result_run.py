"""The run of the results in the workspace: found in the store by what they are, never by what a command left.

So it is theirs after `git checkout`, `dvc checkout` and `dvc exp apply` too. MLflow's import would take 2.5 s, and there is no
public way to query a database faster: `_in_sqlite` reads MLflow's own tables. A test compares it with runs of the installed
MLflow.
"""

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xtcav_ml.config.paths import EVALUATION, LOCK_FILE, MODEL, RUN_ADDRESS
from xtcav_ml.lineage import dvc_lock, lineage
from xtcav_ml.system.errors import UserError
from xtcav_ml.tracking import sqlite_store
from xtcav_ml.tracking.mlflow_names import EVALUATION_TAG, EXPERIMENT, MODEL_TAG, store_name, store_uri

ANSWER_SECONDS = 5.0  # a store's time to answer

UNANSWERED = (sqlite3.Error, OSError, ValueError, KeyError, TypeError)
"""Of a store that is not there, does not answer, or is of a kind that only MLflow can query."""


def find(root: Path) -> dict[str, str] | None:
    """Return id, experiment and store of the run of the results in `root`; None if the store has none, or there are none.

    Of a store that does not answer it is the run that `record` wrote down, if that is of these very results.
    """
    try:
        tags = _tags(root)
    except UserError:  # no results, or damaged ones, of which others speak
        return None
    try:
        return finished(root, tags)
    except UNANSWERED:
        from xtcav_ml.data import (
            result_files,
        )  # pydantic, which takes half as long as the rest of `record` with nothing to do

        address = result_files.read_if_there(root / RUN_ADDRESS, result_files.Address)
        return address if tags.items() <= address.items() else None


def _tags(root: Path) -> dict[str, str]:
    """Return the tags of the run: the hash of the evaluation, and that of the model which dvc.lock has with it.

    `git checkout` brings an evaluation and the lock; the model is another's until `dvc checkout`.
    """
    evaluation, lock = lineage.file_md5(root / EVALUATION), root / LOCK_FILE
    stages = dvc_lock.parse(lock.read_bytes()) if lock.is_file() else {}
    evaluated = stages.get("evaluate", dvc_lock.Stage())
    locked = evaluated.deps.get(str(MODEL)) if evaluated.outs.get(str(EVALUATION)) == evaluation else None
    return {MODEL_TAG: locked or lineage.file_md5(root / MODEL), EVALUATION_TAG: evaluation}


def finished(root: Path, tags: Mapping[str, str]) -> dict[str, str] | None:
    """Return the same of the newest run that is FINISHED and not deleted, with all these tags. Raises one of UNANSWERED."""
    uri = store_uri(root)
    found = (_in_sqlite if sqlite_store.database_of(uri) else _on_server)(uri, tags)
    return found and {**dict(zip(("run_id", "experiment_id"), found, strict=True)), "store": store_name(root)}


def _in_sqlite(uri: str, tags: Mapping[str, str]) -> tuple[str, str] | None:
    database = sqlite_store.database_of(uri)
    assert database is not None
    having = " AND run_uuid IN (SELECT run_uuid FROM tags WHERE key = ? AND value = ?)" * len(tags)
    with sqlite_store.reading(database, ANSWER_SECONDS) as connection:
        row = connection.execute(
            "SELECT run_uuid, experiment_id FROM runs WHERE status = 'FINISHED' AND lifecycle_stage = 'active'"
            f"{having} ORDER BY start_time DESC, run_uuid LIMIT 1",
            [text for pair in tags.items() for text in pair],
        ).fetchone()
    return (row[0], str(row[1])) if row else None


def _on_server(uri: str, tags: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the same from a server, with the user and password of `uri`, or else of MLflow's variables."""
    import requests  # a tenth of MLflow's time

    user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}") for name in ("USERNAME", "PASSWORD"))
    auth = (user, password) if user and password and "@" not in uri else None
    address, named = f"{uri.rstrip('/')}/api/2.0/mlflow", {"experiment_name": EXPERIMENT}
    answer = requests.get(f"{address}/experiments/get-by-name", named, auth=auth, timeout=ANSWER_SECONDS)
    experiment = answer.json()["experiment"]["experiment_id"]
    wanted = [f"tags.`{name}` = '{value}'" for name, value in tags.items()]
    asked: Any = {
        "experiment_ids": [experiment],
        "filter": " and ".join(["attributes.status = 'FINISHED'", *wanted]),
        "order_by": ["attributes.start_time DESC", "attributes.run_id"],
        "max_results": 1,
    }
    answer = requests.post(f"{address}/runs/search", json=asked, auth=auth, timeout=ANSWER_SECONDS)
    answer.raise_for_status()
    runs = answer.json().get("runs", [])
    return (runs[0]["info"]["run_id"], experiment) if runs else None
