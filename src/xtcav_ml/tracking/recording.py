"""Results on disk into MLflow: what the test said to the run of the training, which is made anew where there is none."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xtcav_ml.lineage import lineage
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError, reason
from xtcav_ml.tracking import mlflow_store, provenance, runs, sender
from xtcav_ml.tracking.mlflow_names import EVALUATION_TAG, KEY_TAG, MODEL_TAG, RUN_TAG
from xtcav_ml.tracking.tracker import FINISHED, STATUS, Run, Tracker

COUNT_TAG = "evaluation.count"
"""How many evaluations a run has; each is a step of its test metrics, and the first is step 0."""


@dataclass(frozen=True)
class Results:
    """What the stages left."""

    model: Path
    history: Path  # a line of JSON an epoch
    folder: Path  # with metrics.json, predictions.csv and plots

    @property
    def metrics(self) -> dict[str, Any]:
        """Return what metrics.json says."""
        found: dict[str, Any] = json.loads((self.folder / "metrics.json").read_text())
        return found


def record(root: Path, origin: lineage.Lineage, wanted: Mapping[str, str], results: Results, address: Path) -> None:
    """Make sure that a run with the tags `wanted` is in MLflow, and write its address.

    What the store does not take now is kept in a journal; where it cannot even be asked, that is said and no more.
    """
    address.unlink(missing_ok=True)  # of an earlier run: what follows may fail
    sender.be_brief()
    made = {KEY_TAG: wanted[KEY_TAG], MODEL_TAG: wanted[MODEL_TAG]}
    with Tracker(root) as tracker:
        try:
            run_key, tags = _pending(tracker, made) or _stored(root, made)
        except (*mlflow_store.TrackingError, UserError) as error:
            print(f"xtcav: {reason(error)}; `xtcav record` adds what is lacking then", file=sys.stderr)
            return
        whole = tags.get(EVALUATION_TAG) == wanted[EVALUATION_TAG]
        if run_key is None:
            tags = {"stage": "train", "rebuilt": "true", **provenance.tags(origin)}
            run = tracker.start(provenance.name_of(origin), tags)
            _rebuild(run, origin, results)
        else:
            run = tracker.start("evaluation", made, run_key=run_key, adds=True)
        if not whole:
            _evaluation(run, results, tags)
            run.tags({EVALUATION_TAG: wanted[EVALUATION_TAG]})
        run.finish(FINISHED if run_key is None else None)
    if run.run_id is not None:
        where = {"run_id": run.run_id, "experiment_id": run.experiment_id, "store": tracker.store}
        atomic.write_json(address, where)


def _pending(tracker: Tracker, made: Mapping[str, str]) -> tuple[str, dict[str, str]] | None:
    """Return key and tags of the run that made the model if it is still on its way."""
    merged: dict[str, dict[str, str]] = {}
    for run_key, tags in tracker.pending:
        merged[run_key] = merged.get(run_key, {}) | tags
    for run_key, tags in merged.items():
        if made.items() <= tags.items() and tags.get(STATUS) == FINISHED:
            return run_key, tags
    return None


def _stored(root: Path, made: Mapping[str, str]) -> tuple[str | None, dict[str, str]]:
    """Return key and tags of the newest finished run that made the model, or None and no tags if there is none."""
    client, experiment = mlflow_store.connect(root)
    for run in mlflow_store.search(client, experiment, made):
        if run.info.status == FINISHED:
            if RUN_TAG not in run.data.tags:  # it is older than these keys
                client.set_tag(run.info.run_id, RUN_TAG, run.info.run_id)
            return run.data.tags.get(RUN_TAG, run.info.run_id), run.data.tags
    return None, {}


def _rebuild(run: Run, origin: lineage.Lineage, results: Results) -> None:
    """Tell what the training would have told."""
    provenance.describe(run, origin, provenance.params_of_stage())
    for line in results.history.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        run.metrics(values, step=values.pop("epoch"))
    runs.log_model(run, results.model)


def _evaluation(run: Run, results: Results, tags: Mapping[str, str]) -> None:
    """Tell what the test set said; the run's `tags` say how many evaluations of the same model were told before."""
    metrics, earlier = results.metrics, int(tags.get(COUNT_TAG, 0))
    numbers = {name: value for name, value in metrics.items() if isinstance(value, (int, float))}
    for target, errors in metrics.get("regression", {}).items():
        numbers |= {f"{target}_{name}": value for name, value in errors.items() if value is not None}
    for picture in sorted((results.folder / "plots").glob("*.png")):
        run.artifact(picture, "plots")
    for name in ("metrics.json", "predictions.csv"):
        run.artifact(results.folder / name)
    provenance.describe_test(run)
    run.metrics({f"test_{name}": value for name, value in numbers.items()}, step=earlier)
    run.tags({COUNT_TAG: str(earlier + 1), "mlflow.note.content": provenance.note(metrics, tags)})
