"""record: the run of the present results is in MLflow, whole and once, wherever they came from.

DVC runs it every time, since no file lists what a store has. With nothing to do it takes 0.4 s: MLflow's import would take
2.5 s. There is no public way to query a database that fast: `_in_sqlite` reads MLflow's own tables. A test compares it with
runs of the installed MLflow; if the tables differ, MLflow itself is queried.
"""

import contextlib
import json
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from xtcav_ml.config.paths import EVALUATION, METRICS, PLOTS, PREDICTIONS, RESULTS, RUN_ADDRESS
from xtcav_ml.data.history import read_history
from xtcav_ml.lineage import lineage, project
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import DAMAGES, UserError, disk_full, reason, warn
from xtcav_ml.tracking import sqlite_store
from xtcav_ml.tracking.journal import folder_of
from xtcav_ml.tracking.mlflow_names import EVALUATION_TAG, KEY_TAG, MODEL_TAG, RUN_TAG, store_name, store_uri

Tags = Mapping[str, str]

ANSWER_SECONDS = 5.0  # a server's time to answer


def record(model: Path, history: Path, results: Path) -> None:
    """Add to MLflow what it lacks of the run that made `model`, and write the run's address below `results`.

    Raises UserError if a result is missing, or is not that in dvc.lock: edited, or torn. If the store does not answer now, a
    journal is kept for it, or a message names the cure.
    """
    for path in (model, history, results / EVALUATION.name):
        if not path.is_file():
            raise UserError(f"{path}: missing (expected a result to record). Fix: run `make repro`")
    root, origin = project.find_root(), lineage.of_output("train", model)
    identity = {KEY_TAG: origin.key, MODEL_TAG: lineage.file_md5(model)}
    wanted = {**identity, EVALUATION_TAG: lineage.file_md5(results / EVALUATION.name)}
    address = results / RUN_ADDRESS.relative_to(RESULTS)
    with contextlib.suppress(OSError, UserError, *DAMAGES):  # of an earlier run, or damaged by a merge
        logged, pending = json.loads(address.read_text()), any(folder_of(root).glob("[!.]*"))
        sqlite_store.prepare(root)
        same = logged["store"] == store_name(root) and is_finished(store_uri(root), logged["run_id"], wanted)
        if same and not pending:
            return
    address.unlink(missing_ok=True)  # of an earlier run: what follows may fail
    lineage.require_outputs([model, history, *(path for path in _evaluated(results) if path.exists())])
    from xtcav_ml.tracking import mlflow_store, runs
    from xtcav_ml.tracking.tracker import Tracker

    with Tracker(root) as tracker:
        try:
            run_key, tags = _find(root, tracker.left, identity)
        except (*mlflow_store.TrackingError, UserError) as error:
            if full := disk_full(error):  # waiting would not help
                raise full from None
            warn(
                f"{results}: run not recorded: {error}"
                if isinstance(error, UserError)
                else f"{results}: run not recorded (found {reason(error)!r}, expected an answer). Fix: run `xtcav record` later"
            )
            return
        if run_key:
            run = tracker.start("evaluation", identity, run_key=run_key, adds=True)
        else:  # as the training would have logged it
            tags = {"stage": "train", "rebuilt": "true", **runs.origin_tags(origin)}
            run = runs.begin(tracker, origin, tags, run_key="-".join(identity.values()))
            for values in read_history(history):
                run.metrics(values, step=int(values.pop("epoch")))
            runs.log_model(run, model)
        if tags.get(EVALUATION_TAG) != wanted[EVALUATION_TAG]:
            runs.log_evaluation(run, results, tags)
        run.finish()
    if (run_id := run.journal.run_id) is not None:
        where = {"run_id": run_id, "experiment_id": run.journal.experiment_id, "store": tracker.store}
        atomic.write_json(address, where)


def _evaluated(results: Path) -> list[Path]:
    return [results / path.name for path in (EVALUATION, METRICS, PREDICTIONS, PLOTS)]


def _find(root: Path, left: Mapping[str, Tags], identity: Tags) -> tuple[str, Tags]:
    """Return key and tags of the model's finished run, one that is `left` to upload or the store's newest; "", {} if none."""
    from xtcav_ml.tracking import mlflow_store

    wanted = {**identity, "status": "FINISHED"}
    for run_key, tags in left.items():
        if wanted.items() <= tags.items():
            return run_key, tags
    client, experiment = mlflow_store.connect(root)
    for run in mlflow_store.search_runs(client, experiment, identity):
        if run.info.status == "FINISHED" and RUN_TAG in run.data.tags:
            return run.data.tags[RUN_TAG], run.data.tags
    return "", {}


def is_finished(uri: str, run_id: str, tags: Tags) -> bool:
    """Return whether the store has run `run_id`, FINISHED, not deleted, with all these tags.

    False also where it does not answer, or is of a kind that only MLflow can query.
    """
    stored_tags = _in_sqlite if uri.startswith("sqlite:///") else _on_server
    try:
        return tags.items() <= stored_tags(uri, run_id).items()
    except (sqlite3.Error, OSError, ValueError, KeyError):  # whoever asks next, with MLflow, prints why
        return False


def _in_sqlite(uri: str, run_id: str) -> dict[str, str]:
    """Return the tags of a run that is FINISHED; none of any other."""
    database = Path(uri.removeprefix("sqlite:///")).absolute().as_uri()
    ended = "SELECT run_uuid FROM runs WHERE run_uuid = ? AND status = 'FINISHED' AND lifecycle_stage = 'active'"
    with contextlib.closing(sqlite3.connect(f"{database}?mode=ro", uri=True)) as connection:
        return dict(connection.execute(f"SELECT key, value FROM tags WHERE run_uuid IN ({ended})", (run_id,)))


def _on_server(uri: str, run_id: str) -> dict[str, str]:
    """Return the same from a server, with the user and password of `uri`, or else of MLflow's variables."""
    import requests  # a tenth of MLflow's time

    user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}") for name in ("USERNAME", "PASSWORD"))
    auth = (user, password) if user and password and "@" not in uri else None
    address = f"{uri.rstrip('/')}/api/2.0/mlflow/runs/get"
    run = requests.get(address, {"run_id": run_id}, auth=auth, timeout=ANSWER_SECONDS).json()["run"]
    ended = (run["info"]["status"], run["info"]["lifecycle_stage"]) == ("FINISHED", "active")
    return {tag["key"]: tag["value"] for tag in run["data"].get("tags", []) if ended}
