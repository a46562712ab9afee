"""A run in MLflow, to be written to.

To begin a run needs a store that answers. What it does not take later on is told and no more: the results are on disk, and
worth more than their record.
"""

import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from xtcav_ml.store import EXPERIMENT, TrackingError, connect, tolerating, unanswered

P = ParamSpec("P")

KEY_TAG, MODEL_TAG = "lineage.key", "model.md5"
BATCH = 100
"""Most parameters or tags that MLflow takes in one call."""


def _tolerated(method: Callable[Concatenate["Run", P], None]) -> Callable[Concatenate["Run", P], None]:
    """Let a method of Run say what the store does not take, and go on."""

    @functools.wraps(method)
    def told(run: "Run", /, *args: P.args, **kwargs: P.kwargs) -> None:
        with tolerating(f"{method.__name__} of run {run.run_id}"):
            method(run, *args, **kwargs)

    return told


def _key(name: str) -> str:
    """Return a parameter's or metric's name as MLflow takes it: a dataset's may hold other characters."""
    return re.sub(r"[^\w./: -]", "_", name)


class Run:
    """One MLflow run, open to be written to. What the store does not take is told, and nothing is raised."""

    def __init__(self, client: mlflow.MlflowClient, run_id: str, experiment_id: str) -> None:
        self.client, self.run_id, self.experiment_id = client, run_id, experiment_id

    @classmethod
    def start(
        cls, root: Path, name: str, tags: Mapping[str, str], parent: str | None = None, experiment: str = EXPERIMENT
    ) -> "Run":
        """Begin a run in `experiment`, a child of run `parent` if that is given.

        Raises UserError if the store does not answer.
        """
        client, known = connect(root, experiment)
        links = {MLFLOW_PARENT_RUN_ID: parent} if parent else {}
        try:
            run = client.create_run(known, tags={**tags, **links, MLFLOW_RUN_NAME: name})
        except TrackingError as error:
            raise unanswered(root, error) from None
        return cls(client, run.info.run_id, known)

    @classmethod
    def find(cls, root: Path, key: str, model: str) -> "Run | None":
        """Return the newest finished run with this lineage key whose model file has the MD5 `model`, or None."""
        client, experiment = connect(root)
        wanted = f"tags.`{KEY_TAG}` = '{key}' and tags.`{MODEL_TAG}` = '{model}'"
        found = client.search_runs([experiment], wanted, order_by=["attributes.start_time DESC"])
        whole = [run for run in found if run.info.status == "FINISHED"]
        return cls(client, whole[0].info.run_id, experiment) if whole else None

    @classmethod
    def resume(cls, root: Path, run_id: str) -> "Run | None":
        """Return run `run_id`, open again, or None if the store does not know it."""
        client, experiment = connect(root)
        try:
            client.update_run(run_id, "RUNNING")
        except TrackingError:
            return None
        return cls(client, run_id, experiment)

    @_tolerated
    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters, in the order of `values`."""
        entries = [Param(_key(name), str(value)) for name, value in values.items()]
        for first in range(0, len(entries), BATCH):
            self.client.log_batch(self.run_id, params=entries[first : first + BATCH])

    @_tolerated
    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics at `step`."""
        now = mlflow.utils.time.get_current_time_millis()
        self.client.log_batch(
            self.run_id, [Metric(_key(name), float(value), now, step) for name, value in values.items()]
        )

    @_tolerated
    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        entries = [RunTag(name, value) for name, value in values.items()]
        for first in range(0, len(entries), BATCH):
            self.client.log_batch(self.run_id, tags=entries[first : first + BATCH])

    @_tolerated
    def dataset(self, name: str, digest: str, source: Path, context: str) -> None:
        """Name a dataset that the run used, by the hash under which DVC knows it."""
        dataset = Dataset(name=name, digest=digest, source_type="local", source=f'{{"uri": "{source}"}}')
        self.client.log_inputs(self.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])

    @_tolerated
    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Store a file, or the files of a folder, with the run."""
        (self.client.log_artifacts if path.is_dir() else self.client.log_artifact)(self.run_id, str(path), folder)

    @_tolerated
    def finish(self, status: str = "FINISHED") -> None:
        """End the run FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.run_id, status)
