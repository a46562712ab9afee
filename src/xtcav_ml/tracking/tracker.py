"""Runs to log to: each writes a journal on disk, which a thread uploads to MLflow meanwhile, and a later command if need be.

Whether MLflow answers does not matter to the training: a message says so, and no more. Requests to stop are held back while
a lock may be held that the thread needs.
"""

import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from xtcav_ml.lineage.lineage import file_md5
from xtcav_ml.system import interrupts
from xtcav_ml.system.errors import masked, warn
from xtcav_ml.system.progress import console
from xtcav_ml.tracking.journal import Event, Journal, folder_of, ownerless
from xtcav_ml.tracking.mlflow_names import EXPERIMENT, MODEL_TAG, allowed, metric_name, store_uri
from xtcav_ml.tracking.uploader import Uploader

PROBE = {"http": 5.0, "": 60.0}
"""Seconds that a store has to answer before the training goes on without: a server; a database, which may not exist yet."""

FINISHED, FAILED, KILLED, STATUS = "FINISHED", "FAILED", "KILLED", "status"
BATCH = 100
"""Most parameters or tags of an event."""


class Run:
    """One run, open to be logged to. What cannot be written causes a message, and nothing is raised."""

    def __init__(self, journal: Journal, uploader: Uploader) -> None:
        self._journal, self._uploader = journal, uploader
        self.key: str = journal.begin["run_key"]
        self._logged = {
            (name, event["step"])
            for event, _ in journal.events()
            if event["event"] == "metrics"
            for name in event["values"]
        }

    @property
    def has_metrics(self) -> bool:
        """Return whether any metrics have been logged, be it by a process that was killed."""
        return bool(self._logged)

    @property
    def ended(self) -> bool:
        """Return whether it is finished."""
        return self._journal.closed

    @property
    def run_id(self) -> str | None:
        """Return MLflow's name for the run, or None if it has not answered yet."""
        return self._journal.run_id

    @property
    def experiment_id(self) -> str | None:
        """Return MLflow's name for its experiment, or None if it has not answered yet."""
        return self._journal.experiment_id

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters, in the order of `values`."""
        self._chunks("params", {allowed(name): str(value) for name, value in values.items()})

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        self._chunks("tags", values)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics at `step`, each once: a training that resumes repeats what it logged before it was killed."""
        named = {metric_name(name): float(value) for name, value in values.items()}
        new = {name: value for name, value in named.items() if (name, step) not in self._logged}
        if new:
            self._write({"event": "metrics", "step": step, "time_ms": _now(), "values": new})
            self._logged |= {(name, step) for name in new}

    def dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """Log a dataset that the run used, by the hash under which DVC knows it."""
        self._write({"event": "dataset", "name": name, "digest": digest, "source": source, "context": context})

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file, as it is now, as an artifact."""
        self._write({"event": "artifact", "folder": folder}, path)

    def model(self, path: Path, requirements: list[str]) -> None:
        """Log the trained model with the versions that it needs, and the MD5 by which its run is looked up."""
        self.tags({MODEL_TAG: file_md5(path)})
        self._write({"event": "model", "requirements": requirements}, path)

    @interrupts.held()
    def finish(self, status: str | None = FINISHED) -> None:
        """End the run FINISHED, FAILED or KILLED; None leaves it as it is. Nothing may be logged to it after that."""
        self._write({"event": "finish", "status": status, "time_ms": _now()})
        self._journal.closed = True
        self._uploader.wake()

    def _chunks(self, kind: str, values: Mapping[str, str]) -> None:
        entries = list(values.items())
        for first in range(0, len(entries), BATCH):
            self._write({"event": kind, "values": dict(entries[first : first + BATCH])})

    @interrupts.held()
    def _write(self, event: Event, file: Path | None = None) -> None:
        try:
            self._journal.append(event if file is None else {**event, "file": self._journal.copy(file)})
        except OSError as error:
            warn(f"{event['event']} of run {self.key} not logged: {error}")
        self._uploader.wake()


class Tracker:
    """The runs that a command logs to, while it is entered; at the end it prints whether all is uploaded.

    A run that is not finished by then is ended: KILLED on Ctrl-C, otherwise FAILED.

    Journals that earlier processes left, killed or without an answer of MLflow, are uploaded too. The next run of the same
    `identity` resumes one that has no end; others are ended KILLED.
    """

    def __init__(self, root: Path, identity: str = "") -> None:
        self.root, self.identity = root, identity
        self.store = masked(store_uri(root))
        self.uploader = Uploader(root)
        self.left: dict[str, dict[str, str]] = {}  # tags by key of runs that earlier processes did not upload whole
        self._begun: list[Run] = []
        self._unfinished: Journal | None = None
        self._unanswered = False  # and a message was printed

    @interrupts.held()
    def __enter__(self) -> Self:
        for journal in ownerless(folder_of(self.root)):
            if journal.begin["store"] != self.store:
                journal.close()
            elif self.identity and journal.begin["identity"] == self.identity and not journal.finished:
                self._unfinished = journal
            else:
                self._upload_left(journal)
        return self

    @interrupts.held()
    def start(
        self,
        name: str,
        tags: Mapping[str, str],
        experiment: str = EXPERIMENT,
        parent: Run | None = None,
        run_key: str | None = None,
        adds: bool = False,
    ) -> Run:
        """Begin a run, below run `parent` if that is given, or resume the one that was left unfinished.

        `run_key` names a run that may be in MLflow already, and then runs again; with `adds` it is there, and stays as it is.
        """
        journal = None if parent else self._unfinished
        if journal is None:
            begin = {
                "event": "begin",
                "run_key": run_key or uuid.uuid4().hex,
                "store": self.store,
                "identity": "" if parent else self.identity,
                "experiment": experiment,
                "name": name,
                "parent": parent.key if parent else None,
                "tags": dict(tags),
                "adds": adds,
                "time_ms": _now(),
            }
            journal = Journal.create(folder_of(self.root), uuid.uuid4().hex, begin)
        else:
            self._unfinished = None
        self.uploader.add(journal)
        if parent is None and journal.pending:
            self._probe()
        run = Run(journal, self.uploader)
        self._begun.append(run)
        return run

    @interrupts.held()
    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for run in self._begun:
            if not run.ended:
                run.finish(KILLED if kind is KeyboardInterrupt else FAILED)
        if self._unfinished is not None:
            self._upload_left(self._unfinished)
        pending = self.uploader.drain()
        if pending:
            entries = sum(journal.pending for journal in pending)
            why = "" if self._unanswered else f" ({self.uploader.failure or 'no answer'})"
            warn(
                f"{entries} entries of {len(pending)} runs not uploaded to MLflow at {self.store}{why}; they are kept in "
                "mlruns/journal until the next stage, `dvc repro` or `xtcav sync` uploads them"
            )
        elif self.uploader.tried.is_set():
            console().print(f"MLflow: all uploaded to {self.store}")
        self.uploader.close()

    def _upload_left(self, journal: Journal) -> None:
        """Upload a journal that another process began, ended as that did, or KILLED when it last wrote."""
        if not journal.finished:
            try:
                journal.append({"event": "finish", "status": KILLED, "time_ms": journal.last_written})
            except OSError as error:
                warn(f"{journal.folder}: not uploaded: {error}")
                journal.close()
                return
        tags = self.left.setdefault(journal.begin["run_key"], {})
        tags |= journal.begin["tags"]
        for event, _ in journal.events():
            tags |= event["values"] if event["event"] == "tags" else {}
            tags |= {STATUS: event["status"] or FINISHED} if event["event"] == "finish" else {}
        journal.closed = True
        self.uploader.add(journal)

    def _probe(self) -> None:
        """Give the store a moment to answer for the first time, and print a message if it does not."""
        self.uploader.tried.wait(next(seconds for scheme, seconds in PROBE.items() if self.store.startswith(scheme)))
        if self.uploader.failure or not self.uploader.tried.is_set():
            self._unanswered = True
            why = self.uploader.failure or f"MLflow at {self.store} has not answered yet"
            warn(f"{why}; run data are kept in mlruns/journal until the server answers; training continues")


def _now() -> int:
    return time.time_ns() // 1_000_000
