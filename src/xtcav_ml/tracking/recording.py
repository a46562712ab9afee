"""Results on disk into MLflow: the evaluation to the run of the training, which is rebuilt where there is none."""

from collections.abc import Mapping
from pathlib import Path

from xtcav_ml.lineage import lineage
from xtcav_ml.system.errors import UserError, reason, warn
from xtcav_ml.tracking import mlflow_store, provenance, runs, uploader
from xtcav_ml.tracking.mlflow_names import EVALUATION_TAG, KEY_TAG, MODEL_TAG, RUN_TAG
from xtcav_ml.tracking.tracker import END_STATUS, FINISHED, Tracker


def complete_run(
    origin: lineage.Lineage, wanted: Mapping[str, str], model: Path, history: Path, results: Path
) -> dict[str, str | None]:
    """Make sure that a run with the tags `wanted` is in MLflow; return its run_id, experiment_id and store.

    Returns nothing where the store does not answer now: a journal is kept for it, or a message names what to do.
    """
    root, identity = lineage.project_root(), {name: wanted[name] for name in (KEY_TAG, MODEL_TAG)}
    uploader.be_brief()
    with Tracker(root) as tracker:
        try:
            run_key, tags = _left(tracker, identity) or _stored(root, identity)
        except (*mlflow_store.TrackingError, UserError) as error:
            warn(f"{results}: run not recorded (found {reason(error)!r}). Fix: run `xtcav record` later")
            return {}
        if run_key is None:
            tags = {"stage": "train", "rebuilt": "true", **provenance.tags(origin)}
            rebuilt = runs.begin(tracker, origin, tags)
            rebuilt.replay(history)
            run = rebuilt.run
            runs.log_model(run, model)
        else:
            run = tracker.start("evaluation", identity, run_key=run_key, adds=True)
        if tags.get(EVALUATION_TAG) != wanted[EVALUATION_TAG]:
            runs.log_evaluation(run, results, tags)
        run.finish(FINISHED if run_key is None else None)
    where = {"run_id": run.run_id, "experiment_id": run.journal.experiment_id, "store": tracker.store}
    return where if run.run_id is not None else {}


def _left(tracker: Tracker, identity: Mapping[str, str]) -> tuple[str, dict[str, str]] | None:
    """Return key and tags of the model's run if it is not uploaded whole yet."""
    wanted = {**identity, END_STATUS: FINISHED}.items()
    return next(((run_key, tags) for run_key, tags in tracker.left.items() if wanted <= tags.items()), None)


def _stored(root: Path, identity: Mapping[str, str]) -> tuple[str | None, dict[str, str]]:
    """Return key and tags of the model's newest finished run, or None and no tags if there is none."""
    client, experiment = mlflow_store.connect(root)
    for run in mlflow_store.search(client, experiment, identity):
        if run.info.status == FINISHED:
            if RUN_TAG not in run.data.tags:  # it is older than these keys
                client.set_tag(run.info.run_id, RUN_TAG, run.info.run_id)
            return run.data.tags.get(RUN_TAG, run.info.run_id), run.data.tags
    return None, {}
