"""record: the run of the present results is in MLflow, whole and once, wherever they came from.

DVC runs it every time, since no file lists what a store has. With nothing to do it takes 0.4 s, without MLflow
(`result_run`); where that does not find the run, MLflow itself is queried.
"""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

from xtcav_ml.config.paths import EVALUATION, METRICS, PLOTS, PREDICTIONS, RESULTS, RUN_ADDRESS
from xtcav_ml.data.history import read_history
from xtcav_ml.lineage import lineage, project
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import DAMAGES, UserError, disk_full, reason, warn
from xtcav_ml.tracking import result_run, sqlite_store
from xtcav_ml.tracking.journal import folder_of
from xtcav_ml.tracking.mlflow_names import EVALUATION_TAG, EXPERIMENT, KEY_TAG, MODEL_TAG, REBUILT_TAG, RUN_TAG

Tags = Mapping[str, str]


def record(model: Path, history: Path, results: Path) -> None:
    """Add to MLflow what it lacks of the run that made `model`, and write the run's address below `results`.

    Raises UserError if a result is missing, or is not that in dvc.lock: edited, or torn; and if the disk is full. If the store
    does not answer now, a journal is kept for it, or a message names the cure.
    """
    for path in (model, history, results / EVALUATION.name):
        if not path.is_file():
            raise UserError(f"{path}: missing (expected a result to record). Fix: run `make repro`")
    root, origin = project.find_root(), lineage.of_output("train", model)
    identity = {KEY_TAG: origin.key, MODEL_TAG: lineage.file_md5(model)}
    wanted = {**identity, EVALUATION_TAG: lineage.file_md5(results / EVALUATION.name)}
    address = results / RUN_ADDRESS.relative_to(RESULTS)
    with contextlib.suppress(UserError, *DAMAGES, *result_run.UNANSWERED):  # of an earlier run, or damaged by a merge
        logged, pending = json.loads(address.read_text()), any(folder_of(root).glob("[!.]*"))
        sqlite_store.prepare(root)
        if not pending and logged == {**(result_run.finished(root, wanted) or {}), **wanted}:
            return
    address.unlink(missing_ok=True)  # of an earlier run: what follows may fail
    lineage.require_outputs([model, history, *(path for path in _evaluated(results) if path.exists())])
    from xtcav_ml.tracking import mlflow_store, runs
    from xtcav_ml.tracking.tracker import Tracker

    with Tracker(root, required=True) as tracker:
        try:
            run_key, tags = find_finished(root, tracker.left, identity)
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
            tags = {"stage": "train", REBUILT_TAG: "true", **runs.origin_tags(origin)}
            run = runs.begin(tracker, origin, tags, run_key="-".join(identity.values()))
            for values in read_history(history):
                run.metrics(values, step=int(values.pop("epoch")))
            runs.log_model(run, model)
        if tags.get(EVALUATION_TAG) != wanted[EVALUATION_TAG]:
            runs.log_evaluation(run, results, tags)
        run.finish()
    if (run_id := run.journal.run_id) is not None:
        where = {"run_id": run_id, "experiment_id": run.journal.experiment_id, "store": tracker.store}
        atomic.write_json(address, {**where, **wanted})


def _evaluated(results: Path) -> list[Path]:
    return [results / path.name for path in (EVALUATION, METRICS, PREDICTIONS, PLOTS)]


def find_finished(root: Path, left: Mapping[str, Tags], identity: Tags, among: str = EXPERIMENT) -> tuple[str, Tags]:
    """Return key and tags of the model's finished run, one that is `left` to upload or the store's newest; "", {} if none.

    `among` is MLflow's experiment that has it.
    """
    from xtcav_ml.tracking import mlflow_store

    wanted = {**identity, "status": "FINISHED"}
    for run_key, tags in left.items():
        if wanted.items() <= tags.items():
            return run_key, tags
    client, experiment = mlflow_store.connect(root, among)
    for run in mlflow_store.search_runs(client, experiment, identity):
        if run.info.status == "FINISHED" and RUN_TAG in run.data.tags:
            return run.data.tags[RUN_TAG], run.data.tags
    return "", {}
