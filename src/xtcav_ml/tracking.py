"""The only module with MLflow: where the store is, and a run to write to.

To begin a run needs a store that answers. What it does not take later on is told and no more: the results are on disk, and
worth more than their record.
"""

import contextlib
import functools
import logging
import os
import re
import sqlite3
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import mlflow
import numpy as np
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from xtcav_ml.errors import UserError
from xtcav_ml.meaning import Meaning

TrackingError = (mlflow.MlflowException, OSError)
"""What MLflow, and the HTTP and file system below it, raise when a store cannot be written to."""

P = ParamSpec("P")

EXPERIMENT, NOTES = "xtcav", "xtcav-notes"
"""MLflow's experiments: the project's own runs, and those of the notes' experiments."""

KEY_TAG, MODEL_TAG = "lineage.key", "model.md5"
BATCH = 100
"""Most parameters or tags that MLflow takes in one call."""


def store_uri(root: Path) -> str:
    """Return MLFLOW_TRACKING_URI, or the SQLite database in the project's `mlruns`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve()}/mlruns/mlflow.db"


def masked(uri: str) -> str:
    """Return a store's address without the user and password that it may hold."""
    return re.sub(r"(?<=://)[^/\s]*@", "***@", uri)


def reason(error: Exception) -> str:
    """Return the first line of what an error says, or its name, without user and password of an address in it."""
    return masked((str(error).splitlines() or [type(error).__name__])[0])


@contextlib.contextmanager
def tolerating(what: str) -> Iterator[None]:
    """Say that the store did not take `what`, and go on."""
    try:
        yield
    except TrackingError as error:
        print(f"xtcav: MLflow did not take {what}: {reason(error)}", file=sys.stderr)


def _tolerated(method: Callable[Concatenate["Run", P], None]) -> Callable[Concatenate["Run", P], None]:
    """Let a method of Run say what the store does not take, and go on."""

    @functools.wraps(method)
    def told(run: "Run", /, *args: P.args, **kwargs: P.kwargs) -> None:
        with tolerating(f"{method.__name__} of run {run.run_id}"):
            method(run, *args, **kwargs)

    return told


def connect(root: Path, experiment: str = EXPERIMENT) -> tuple[mlflow.MlflowClient, str]:
    """Return a client and the id of an experiment, the project's own by default, both made on first use."""
    uri = store_uri(root)
    mlflow.set_tracking_uri(uri)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it tells of every table that it makes
    local = uri.startswith("sqlite:///")
    if local:
        database = Path(uri.removeprefix("sqlite:///"))
        database.parent.mkdir(parents=True, exist_ok=True)
        try:
            with contextlib.closing(sqlite3.connect(database)) as connection:
                connection.execute(
                    "PRAGMA journal_mode=WAL"
                )  # readers, as the UI, then never block a writer; it persists
        except sqlite3.Error as error:
            raise UserError(
                f"{database}: must be MLflow's SQLite database, got {str(error)!r}; bring it back from a copy, or move it "
                "away: a new one is then made"
            ) from None
    artifacts = (root / "mlruns" / "artifacts").resolve().as_uri() if local else None
    try:
        client = mlflow.MlflowClient(uri)
        found = client.get_experiment_by_name(experiment)
        known = found.experiment_id if found else client.create_experiment(experiment, artifacts)
    except TrackingError as error:
        raise _unanswered(root, error) from None
    return client, known


def _unanswered(root: Path, error: Exception) -> UserError:
    return UserError(
        f"MLFLOW_TRACKING_URI: must name a store that answers, got {masked(store_uri(root))!r} ({reason(error)}); "
        "start the server, or unset the variable to use mlruns/mlflow.db"
    )


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
            raise _unanswered(root, error) from None
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
    def model(self, path: Path, meaning: Meaning, requirements: Sequence[str]) -> None:
        """Store a model file as a function of raw frames, with its signature; module `served` loads it."""
        schema = mlflow.types.Schema
        frames = mlflow.types.TensorSpec(np.dtype(np.int16), (-1, *meaning.preprocessing.raw_shape), "frame")
        features = [mlflow.types.TensorSpec(np.dtype(np.float32), (-1,), name) for name in meaning.features]
        if not features:
            frames = mlflow.types.TensorSpec(np.dtype(np.int16), (-1, *meaning.preprocessing.raw_shape))
        outputs = [mlflow.types.ColSpec("double", f"probability of {name}") for name in meaning.classes]
        outputs += [mlflow.types.ColSpec("string", "predicted")] if meaning.classes else []
        outputs += [mlflow.types.ColSpec("double", name) for name in meaning.regression]
        with mlflow.start_run(run_id=self.run_id, log_system_metrics=False), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*input example")  # it would be a camera frame written as text
            mlflow.pyfunc.log_model(
                name="model",
                loader_module="xtcav_ml.served",
                data_path=str(path),
                signature=mlflow.models.ModelSignature(schema([frames, *features]), schema(outputs)),
                pip_requirements=list(requirements),
            )

    @_tolerated
    def finish(self, status: str = "FINISHED") -> None:
        """End the run FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.run_id, status)


def download(root: Path, run_id: str, name: str, folder: Path) -> Path:
    """Copy file `name` of what run `run_id` stored into `folder`. Raises UserError if the store has no such run or file."""
    client, _ = connect(root)
    try:
        return Path(client.download_artifacts(run_id, name, str(folder)))
    except TrackingError as error:
        raise UserError(
            f"run {run_id}: must be in {masked(store_uri(root))} with {name}, got {reason(error)!r}; `make ui` lists the runs"
        ) from None


def serve_ui(root: Path, host: str, port: int) -> None:
    """Become the MLflow UI on this project's store; ends with Ctrl-C."""
    uri = store_uri(root)
    if uri.startswith(("http://", "https://")):
        print(f"MLFLOW_TRACKING_URI names a server, which has its own pages: open {masked(uri)}")
        return
    connect(root)
    arguments = ["-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", host, "--port", str(port)]
    print(f"MLflow UI on http://{host}:{port} (Ctrl-C ends it)", flush=True)
    os.execv(sys.executable, [sys.executable, *arguments])
