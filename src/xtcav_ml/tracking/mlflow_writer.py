"""The one way from disk to MLflow: `upload_next` writes a journal's next events there, however often it is repeated.

A run is looked up by its key before it is created. A lost reply doubles it, or another process that creates it at the same
time: the first one stays (`_require_first`), and who has created another one removes it and uploads all to the first. MLflow
has no transactions: clocks that differ by more than an upload takes could leave two.

A metric goes with the time at which it was logged, so that one that arrives twice is the same row to MLflow's SQL store, which
keeps one. Those of results that several may log, each from its own copy, go with the time at which their run began.
"""

import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
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
        journal.run_id = _begin(client, journal)
    elif kind in REQUEST_VALUES:
        common = client.get_run(journal.run_id).info.start_time if journal.begin.get("common") else None
        rows = [(event["event"], event, *pair) for event in events for pair in event["values"].items()]
        metrics = [
            Metric(name, value, common or at["time_ms"], at["step"])
            for kind, at, name, value in rows
            if kind == "metrics"
        ]
        params = {name: Param(name, value) for kind, _, name, value in rows if kind == "params"}  # the last of a name
        run_id = str(journal.run_id)
        tags = {
            name: RunTag(name, value.replace(mlflow_names.RUN_ID, run_id))
            for kind, _, name, value in rows
            if kind == "tags"
        }
        client.log_batch(journal.run_id, metrics, list(params.values()), list(tags.values()))
    elif kind == "dataset":
        source = json.dumps({"uri": events[0]["source"]})
        dataset = Dataset(name=events[0]["name"], digest=events[0]["digest"], source_type="local", source=source)
        use = InputTag("mlflow.data.context", events[0]["context"])
        client.log_inputs(journal.run_id, [DatasetInput(dataset, [use])])
    elif kind == "artifact":
        client.log_artifact(journal.run_id, str(journal.file_of(events[0])), events[0]["folder"])
    elif kind == "model":
        _require_first(client, journal)
        path = journal.file_of(events[0])
        versions.log_version(
            str(journal.run_id), path, model_file.read_spec(path, sealed=False), events[0]["requirements"]
        )
    else:
        run = _require_first(client, journal)
        if events[0]["status"] is not None and run.info.status != "FINISHED":  # which it stays
            client.set_terminated(journal.run_id, events[0]["status"], events[0]["time_ms"])
        if journal.begin["adds"] or journal.begin["tags"].get("stage") == "train":
            versions.tag_metrics(str(journal.run_id))


def _begin(client: mlflow.MlflowClient, journal: Journal) -> str:
    """Return the id of the run, created on first use, and running unless it is finished and others may write it too."""
    begin = journal.begin
    tags = {**begin["tags"], mlflow_names.RUN_TAG: begin["run_key"], **_parent_tag(client, journal)}
    if existing := _runs(client, journal, begin["run_key"]):
        info = existing[0].info
        if not begin["adds"] and not (begin.get("common") and info.status == "FINISHED"):
            client.update_run(info.run_id, "RUNNING")
        client.log_batch(info.run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        return str(info.run_id)
    if begin["adds"]:
        raise OSError(f"the run that {begin['name']} adds to is not uploaded yet")
    tags |= {MLFLOW_RUN_NAME: begin["name"], mlflow_names.WRITER_TAG: journal.folder.name}
    began = time.time_ns() // 1_000_000 if begin.get("common") else begin["time_ms"]
    journal.run_id = str(client.create_run(journal.experiment_id, start_time=began, tags=tags).info.run_id)
    return str(_require_first(client, journal).info.run_id)


def _parent_tag(client: mlflow.MlflowClient, journal: Journal) -> dict[str, str]:
    if not journal.begin["parent"]:
        return {}
    parents = _runs(client, journal, journal.begin["parent"])
    if not parents:
        raise OSError(f"the parent run of {journal.begin['name']} is not uploaded yet")
    return {MLFLOW_PARENT_RUN_ID: str(parents[0].info.run_id)}


def _require_first(client: mlflow.MlflowClient, journal: Journal) -> Run:
    """Return the journal's run, and remove others that it has created.

    If another one is the first with its key, remove the journal's own and raise OSError: all is then uploaded to that.
    """
    runs = _runs(client, journal, journal.begin["run_key"])
    for run in runs[1:]:
        if run.data.tags.get(mlflow_names.WRITER_TAG, journal.folder.name) == journal.folder.name:
            versions.forget(client, run)
            client.delete_run(run.info.run_id)
    if not runs:
        return client.get_run(str(journal.run_id))  # deleted meanwhile, or another database, as this then raises
    if runs[0].info.run_id != journal.run_id:
        journal.acknowledge(0, None, None)
        raise OSError("another process has begun the run")
    return runs[0]


def _runs(client: mlflow.MlflowClient, journal: Journal, run_key: str) -> list[Run]:
    """Return the runs with a key: one, none yet, or more; the first is that which stays."""
    runs = mlflow_store.search_runs(client, str(journal.experiment_id), {mlflow_names.RUN_TAG: run_key})
    return sorted(runs, key=lambda run: (run.info.status != "FINISHED", int(run.info.start_time), str(run.info.run_id)))


def _refused(error: Exception) -> bool:
    """Return whether to upload it again would not help."""
    if isinstance(error, mlflow.MlflowException):
        status = error.get_http_status_code()
    else:
        status = getattr(getattr(error, "response", None), "status_code", None)  # of requests
    if status is None:
        return isinstance(error, FileNotFoundError) or not isinstance(error, (*mlflow_store.TrackingError, UserError))
    return 400 <= status < 500 and status not in RETRIABLE
