"""The one way from disk to MLflow: `upload_next` writes a journal's next events there, however often it is repeated.

A run is looked up by its key before it is created, and what a lost reply has doubled is removed when it ends. A metric goes
with the time at which it was logged, so that one that arrives twice is the same row to MLflow's SQL store, which keeps one.
"""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from xtcav_ml.data import model_file
from xtcav_ml.system.errors import UserError, reason, warn
from xtcav_ml.tracking import mlflow_names, mlflow_store
from xtcav_ml.tracking.journal import Event, Journal
from xtcav_ml.tracking.registry import versions

REQUEST_VALUES = {"params": 100, "metrics": 800, "tags": 100}
"""Events of values, and how many of each go into one request: MLflow takes 100, 1,000 and 100, and 1,000 together."""

RETRIABLE = (401, 403, 404, 408, 409, 429, 499)  # HTTP statuses that may change; any other 4xx is final


def upload_next(root: Path, journal: Journal, batch: Sequence[tuple[Event, int]] = ()) -> None:
    """Upload and acknowledge the next events of a journal, by default as many as go into one request, to the store of `root`.

    What the store refuses for good is skipped with a message. Raises what the store or the way there raises.
    """
    batch = batch or _next(journal)
    kind = batch[0][0]["event"]
    try:
        _apply(root, journal, [event for event, _ in batch])
    except Exception as error:
        if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":  # another database: all is uploaded again
            journal.acknowledge(0, None, None)
        elif kind in ("artifact", "model") and journal.finished:
            with contextlib.suppress(Exception):  # a disk for files may be full for days, and the run is over
                *_, (end, _) = journal.events(journal.offset)
                _apply(root, journal, [end])
        if kind == "begin" or not _refused(error):
            raise
        if len(batch) > 1:  # one of them is at fault
            for one in batch:
                upload_next(root, journal, [one])
            return
        warn(
            f"run {journal.run_id}: {kind} refused by MLflow, skipped (found {reason(error)!r}, expected MLflow to accept it). "
            "Fix: log it by hand in `make ui`"
        )
    journal.acknowledge(batch[-1][1], journal.run_id, journal.experiment_id)


def _next(journal: Journal) -> list[tuple[Event, int]]:
    """Return the next event and the byte at which it ends, or those of values that go into one request together."""
    batch: list[tuple[Event, int]] = []
    room = dict(REQUEST_VALUES)
    for event, end in journal.events(journal.offset):
        kind = event["event"]
        if kind in room:
            room[kind] -= len(event["values"])
        if batch and room.get(kind, -1) < 0:
            break
        batch.append((event, end))
        if kind not in room:
            break
    return batch


def _apply(root: Path, journal: Journal, events: Sequence[Event]) -> None:
    kind, client = events[0]["event"], mlflow_store.client(root)
    if kind == "begin":
        client, journal.experiment_id = mlflow_store.connect(root, journal.begin["experiment"])
        journal.run_id = _begin(client, journal.experiment_id, journal.begin)
    elif kind in REQUEST_VALUES:
        rows = [(event["event"], event, *pair) for event in events for pair in event["values"].items()]
        metrics = [
            Metric(name, value, at["time_ms"], at["step"]) for kind, at, name, value in rows if kind == "metrics"
        ]
        params = {name: Param(name, value) for kind, _, name, value in rows if kind == "params"}  # the last of a name
        tags = {name: RunTag(name, value) for kind, _, name, value in rows if kind == "tags"}
        client.log_batch(journal.run_id, metrics, list(params.values()), list(tags.values()))
    elif kind == "dataset":
        source = json.dumps({"uri": events[0]["source"]})
        dataset = Dataset(name=events[0]["name"], digest=events[0]["digest"], source_type="local", source=source)
        use = InputTag("mlflow.data.context", events[0]["context"])
        client.log_inputs(journal.run_id, [DatasetInput(dataset, [use])])
    elif kind == "artifact":
        client.log_artifact(journal.run_id, str(journal.file_of(events[0])), events[0]["folder"])
    elif kind == "model":
        path = journal.file_of(events[0])
        versions.log_version(
            str(journal.run_id), path, model_file.read_spec(path, sealed=False), events[0]["requirements"]
        )
    else:
        if events[0]["status"] is not None:  # else it stays as it is
            client.set_terminated(journal.run_id, events[0]["status"], events[0]["time_ms"])
        for other in _ids(client, str(journal.experiment_id), journal.begin["run_key"]):
            if other != journal.run_id:
                client.delete_run(other)
        if journal.begin["adds"] or journal.begin["tags"].get("stage") == "train":
            versions.tag_metrics(str(journal.run_id))


def _begin(client: mlflow.MlflowClient, experiment: str, begin: Event) -> str:
    """Return the id of the run, created on first use, and running unless this only adds to it."""
    tags = {**begin["tags"], mlflow_names.RUN_TAG: begin["run_key"]}
    existing = _ids(client, experiment, begin["run_key"])
    if existing:
        if not begin["adds"]:
            client.update_run(existing[0], "RUNNING")
        client.log_batch(existing[0], tags=[RunTag(name, value) for name, value in tags.items()])
        return existing[0]
    if begin["adds"]:
        raise OSError(f"the run that {begin['name']} adds to is not uploaded yet")
    if begin["parent"]:
        parents = _ids(client, experiment, begin["parent"])
        if not parents:
            raise OSError(f"the parent run of {begin['name']} is not uploaded yet")
        tags[MLFLOW_PARENT_RUN_ID] = parents[0]
    tags[MLFLOW_RUN_NAME] = begin["name"]
    return str(client.create_run(experiment, start_time=begin["time_ms"], tags=tags).info.run_id)


def _ids(client: mlflow.MlflowClient, experiment: str, run_key: str) -> list[str]:
    """Return MLflow's ids of the runs with a key: one, none yet, or more after a lost reply."""
    return [
        str(run.info.run_id) for run in mlflow_store.search_runs(client, experiment, {mlflow_names.RUN_TAG: run_key})
    ]


def _refused(error: Exception) -> bool:
    """Return whether to upload it again would not help."""
    if isinstance(error, mlflow.MlflowException):
        status = error.get_http_status_code()
    else:
        status = getattr(getattr(error, "response", None), "status_code", None)  # of requests
    if status is None:
        return isinstance(error, FileNotFoundError) or not isinstance(error, (*mlflow_store.TrackingError, UserError))
    return 400 <= status < 500 and status not in RETRIABLE
