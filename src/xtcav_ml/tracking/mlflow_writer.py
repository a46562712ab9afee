"""A journal's events into MLflow, so that it does not matter how often: whatever got lost on the way can be sent again.

A run is looked up by its key before it is made, and what a lost reply has doubled is removed when it ends. Where it is not
certain what of a batch of metrics arrived, only steps beyond the store's last of a key are sent again: a run has one writer,
whose steps rise. (MLflow's SQL store would drop an equal row, with the journal's time in it; others keep both.)
"""

import contextlib
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlflow
import requests
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from xtcav_ml.data import model_file
from xtcav_ml.system import errors
from xtcav_ml.system.errors import UserError
from xtcav_ml.tracking import mlflow_names, mlflow_store
from xtcav_ml.tracking.journal import Event, Journal
from xtcav_ml.tracking.registry import versions

VALUES, FILES = ("params", "metrics", "tags"), ("artifact", "model")
MOST = {"params": 100, "metrics": 800, "tags": 100}
"""Events of values, and how many of each go into one request: MLflow takes 100, 1,000 and 100, and 1,000 together."""

RETRIABLE = (401, 403, 404, 408, 409, 429, 499)
"""What a server may answer differently another time, as to other credentials; any other 4xx is its last word."""


class Projection:
    """The store of a project, to send journals to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._clients: dict[str, tuple[mlflow.MlflowClient, str]] = {}
        self._certain: set[str] = set()  # journals whose last request was answered
        self._ended: set[str] = set()  # journals whose run was ended before all its files were taken

    def send(self, journal: Journal) -> None:
        """Send the next events of a journal, as many as go into one request, and acknowledge them.

        What the store refuses for good is told and passed over. Raises what the store or the way there raises.
        """
        self._send(journal, self._next(journal))

    def _send(self, journal: Journal, batch: Sequence[tuple[Event, int]]) -> None:
        first, name = batch[0][0], journal.folder.name
        try:
            self._apply(journal, [event for event, _ in batch])
        except Exception as error:
            self._certain.discard(name)
            if _gone(error):  # as from another database: all is sent anew
                journal.acknowledge(0, None, None)
            elif first["event"] in FILES and journal.finished and name not in self._ended:
                self._end(journal)
            if first["event"] == "begin" or not _refused(error):
                raise
            if len(batch) > 1:  # one of them is at fault
                for one in batch:
                    self._send(journal, [one])
                return
            what = f"{first['event']} of run {journal.run_id}"
            print(f"xtcav: MLflow did not take {what}: {errors.reason(error)}", file=sys.stderr)
        if first["event"] != "begin":  # the run may have been there before
            self._certain.add(name)
        journal.acknowledge(batch[-1][1], journal.run_id, journal.experiment_id)

    def _end(self, journal: Journal) -> None:
        """End a run whose file is not taken now: a disk for files may be full for days, and the run is over."""
        with contextlib.suppress(Exception):  # it is ended again when all is there
            client, _ = self._client(journal.begin["experiment"])
            (end,) = (event for event, _ in journal.events(journal.offset) if event["event"] == "finish")
            if end["status"] is not None:
                client.set_terminated(journal.run_id, end["status"], end["time_ms"])
            self._ended.add(journal.folder.name)

    def _next(self, journal: Journal) -> list[tuple[Event, int]]:
        """Return the next event, or those of values that go into one request together, each with its end."""
        batch: list[tuple[Event, int]] = []
        room = dict(MOST)
        for event, end in journal.events(journal.offset):
            kind = event["event"]
            if kind in VALUES:
                room[kind] -= len(event["values"])
            if batch and (kind not in VALUES or room[kind] < 0):
                break
            batch.append((event, end))
            if kind not in VALUES:
                break
        return batch

    def _apply(self, journal: Journal, events: Sequence[Event]) -> None:
        client, experiment = self._client(journal.begin["experiment"])
        kind = events[0]["event"]
        if kind == "begin":
            journal.run_id, journal.experiment_id = self._begin(client, experiment, journal.begin), experiment
        elif kind in VALUES:
            self._values(client, journal, events)
        else:
            KINDS[kind](client, journal, events[0])

    def _client(self, experiment: str) -> tuple[mlflow.MlflowClient, str]:
        if experiment not in self._clients:
            self._clients[experiment] = mlflow_store.connect(self.root, experiment)
        return self._clients[experiment]

    def _begin(self, client: mlflow.MlflowClient, experiment: str, begin: Event) -> str:
        """Return the id of the run, made on first use and open where that was asked for."""
        known = mlflow_store.search(client, experiment, {mlflow_names.RUN_TAG: begin["run_key"]})
        if begin["adds"] and not known:
            raise OSError(f"the run that {begin['name']} adds to has not arrived yet")
        tags = {**begin["tags"], mlflow_names.RUN_TAG: begin["run_key"]}
        if known:
            run_id = str(known[0].info.run_id)
            if not begin["adds"]:
                client.update_run(run_id, "RUNNING")
            for first in range(0, len(tags), MOST["tags"]):
                some = list(tags.items())[first : first + MOST["tags"]]
                client.log_batch(run_id, tags=[RunTag(name, value) for name, value in some])
            return run_id
        if begin["parent"]:
            above = mlflow_store.search(client, experiment, {mlflow_names.RUN_TAG: begin["parent"]})
            if not above:
                raise OSError(f"the run above {begin['name']} has not arrived yet")
            tags[MLFLOW_PARENT_RUN_ID] = above[0].info.run_id
        tags[MLFLOW_RUN_NAME] = begin["name"]
        made = client.create_run(experiment, start_time=begin["time_ms"], tags=tags)
        return str(made.info.run_id)

    def _values(self, client: mlflow.MlflowClient, journal: Journal, events: Sequence[Event]) -> None:
        metrics = [
            Metric(key(name), float(value), event["time_ms"], event["step"])
            for event in events
            if event["event"] == "metrics"
            for name, value in event["values"].items()
        ]
        if metrics and journal.folder.name not in self._certain:
            there = {metric.key: metric for metric in client.get_run(journal.run_id).data._metric_objs}
            metrics = [metric for metric in metrics if metric.key not in there or metric.step > there[metric.key].step]
        client.log_batch(
            journal.run_id,
            metrics,
            [Param(key(name), value) for name, value in _merged(events, "params").items()],
            [RunTag(name, value) for name, value in _merged(events, "tags").items()],
        )


def key(name: str) -> str:
    """Return a parameter's or metric's name as MLflow takes it: a dataset's may hold other characters."""
    return re.sub(r"[^\w./: -]", "_", name)


def _dataset(client: mlflow.MlflowClient, journal: Journal, event: Event) -> None:
    source = json.dumps({"uri": event["source"]})
    dataset = Dataset(name=event["name"], digest=event["digest"], source_type="local", source=source)
    client.log_inputs(journal.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", event["context"])])])


def _artifact(client: mlflow.MlflowClient, journal: Journal, event: Event) -> None:
    client.log_artifact(journal.run_id, str(journal.folder / event["file"]), event["folder"])


def _model(client: mlflow.MlflowClient, journal: Journal, event: Event) -> None:
    assert journal.run_id is not None
    path = journal.folder / event["file"]
    versions.log_model(journal.run_id, path, model_file.read_spec(path), event["requirements"])


def _finish(client: mlflow.MlflowClient, journal: Journal, event: Event) -> None:
    if event["status"] is not None:  # else it stays as it is
        client.set_terminated(journal.run_id, event["status"], event["time_ms"])
    for other in mlflow_store.search(
        client, str(journal.experiment_id), {mlflow_names.RUN_TAG: journal.begin["run_key"]}
    ):
        if other.info.run_id != journal.run_id:
            client.delete_run(other.info.run_id)
    if journal.begin["adds"] or journal.begin["tags"].get("stage") == "train":
        versions.tag_metrics(str(journal.run_id))


KINDS: dict[str, Callable[[mlflow.MlflowClient, Journal, Event], None]] = {
    "dataset": _dataset,
    "artifact": _artifact,
    "model": _model,
    "finish": _finish,
}


def _merged(events: Sequence[Event], kind: str) -> dict[str, Any]:
    return {name: value for event in events if event["event"] == kind for name, value in event["values"].items()}


def _gone(error: Exception) -> bool:
    """Return whether the store does not know the run."""
    unknown = ErrorCode.Name(RESOURCE_DOES_NOT_EXIST)
    return isinstance(error, mlflow.MlflowException) and error.error_code == unknown


def _refused(error: Exception) -> bool:
    """Return whether to send it again would not help."""
    if isinstance(error, mlflow.MlflowException):
        status = error.get_http_status_code()
    elif isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
    else:
        return isinstance(error, FileNotFoundError) or not isinstance(error, (*mlflow_store.TrackingError, UserError))
    return 400 <= status < 500 and status not in RETRIABLE
