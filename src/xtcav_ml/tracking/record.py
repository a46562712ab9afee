"""record: the run of the present results is in MLflow, whole and once, wherever they came from.

DVC runs it every time, since no file lists what a store has. With nothing to do it ends before a slow import.
"""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

from xtcav_ml.config.paths import METRICS, RESULTS, RUN_ADDRESS
from xtcav_ml.lineage import lineage
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError, reason, warn
from xtcav_ml.tracking import quick_check
from xtcav_ml.tracking.journal import folder_of
from xtcav_ml.tracking.mlflow_names import EVALUATION_TAG, KEY_TAG, MODEL_TAG, RUN_TAG, store_uri

Key = tuple[str | None, Mapping[str, str]]  # key and tags of a run; None and no tags if there is none


def record(model: Path, history: Path, results: Path) -> None:
    """Add to MLflow what it lacks of the run that made `model`, and write the run's address below `results`.

    Raises UserError if a result is missing. If the store does not answer now, a journal is kept for it, or a message names
    the cure.
    """
    for path in (model, history, results / METRICS.name):
        if not path.is_file():
            raise UserError(f"{path}: not a file (found none, expected a result to record). Fix: run `make repro`")
    root, origin = lineage.project_root(), lineage.of_output("train", model)
    digests = {MODEL_TAG: lineage.file_md5(model), EVALUATION_TAG: lineage.file_md5(results / METRICS.name)}
    wanted = {KEY_TAG: origin.key, **digests}
    address = results / RUN_ADDRESS.relative_to(RESULTS)
    with contextlib.suppress(FileNotFoundError):
        run_id, pending = json.loads(address.read_text())["run_id"], any(folder_of(root).glob("[!.]*"))
        if not pending and quick_check.finished(store_uri(root), run_id, wanted):
            return
    address.unlink(missing_ok=True)  # of an earlier run: what follows may fail
    where = _upload(root, origin, wanted, model, history, results)
    if where["run_id"] is not None:
        atomic.write_json(address, where)


def _upload(
    root: Path, origin: lineage.Lineage, wanted: Mapping[str, str], model: Path, history: Path, results: Path
) -> dict[str, str | None]:
    """Log the evaluation to the run of the training, which is rebuilt where there is none; return the run's address."""
    from xtcav_ml.tracking import mlflow_store, provenance, runs, uploader
    from xtcav_ml.tracking.tracker import FINISHED, Tracker

    uploader.be_brief()
    identity = {name: wanted[name] for name in (KEY_TAG, MODEL_TAG)}
    with Tracker(root) as tracker:
        try:
            run_key, tags = _left(tracker.left, identity) or _stored(root, identity)
        except (*mlflow_store.TrackingError, UserError) as error:
            warn(f"{results}: run not recorded (found {reason(error)!r}). Fix: run `xtcav record` later")
            return {"run_id": None}
        if run_key is None:
            tags = {"stage": "train", "rebuilt": "true", **provenance.tags(origin)}
            listener = runs.begin(tracker, origin, tags)
            for line in history.read_text(encoding="utf-8").splitlines():
                values = json.loads(line)
                listener.on_epoch(values.pop("epoch"), values, {})
            run = listener.run
            runs.log_model(run, model)
        else:
            run = tracker.start("evaluation", identity, run_key=run_key, adds=True)
        if tags.get(EVALUATION_TAG) != wanted[EVALUATION_TAG]:
            runs.log_evaluation(run, results, tags)
        run.finish(FINISHED if run_key is None else None)
    return {"run_id": run.run_id, "experiment_id": run.journal.experiment_id, "store": tracker.store}


def _left(runs: Mapping[str, Mapping[str, str]], identity: Mapping[str, str]) -> Key | None:
    """Return the model's run if it ended FINISHED and is not uploaded whole yet."""
    wanted = {**identity, "status": "FINISHED"}.items()
    return next(((run_key, tags) for run_key, tags in runs.items() if wanted <= tags.items()), None)


def _stored(root: Path, identity: Mapping[str, str]) -> Key:
    """Return the model's newest finished run in the store."""
    from xtcav_ml.tracking import mlflow_store

    client, experiment = mlflow_store.connect(root)
    for run in mlflow_store.search(client, experiment, identity):
        if run.info.status == "FINISHED":
            if RUN_TAG not in run.data.tags:  # it is older than these keys
                client.set_tag(run.info.run_id, RUN_TAG, run.info.run_id)
            return run.data.tags.get(RUN_TAG, run.info.run_id), run.data.tags
    return None, {}
