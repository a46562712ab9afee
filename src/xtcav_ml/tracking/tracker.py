"""Runs to be written to: each tells a journal on disk, which a thread sends to MLflow meanwhile and a later command if need be.

Whether MLflow answers is no matter of the training: it is said, and no more. Requests to stop are held back while a lock may
be held that the sender needs.
"""

import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from xtcav_ml.lineage.lineage import file_md5
from xtcav_ml.system import interrupts
from xtcav_ml.system.errors import masked
from xtcav_ml.system.progress import console
from xtcav_ml.tracking.journal import Event, Journal, folder_of, ownerless
from xtcav_ml.tracking.mlflow_names import EXPERIMENT, MODEL_TAG, metric_name, store_uri
from xtcav_ml.tracking.sender import Sender

PROBE = {"http": 5.0, "": 60.0}
"""Seconds that a store has to answer before the training goes on without: a server; a database, which may not exist yet."""

FINISHED, FAILED, KILLED, STATUS = "FINISHED", "FAILED", "KILLED", "status"
BATCH = 100
"""Most parameters or tags of an event."""


class Run:
    """One run, open to be written to. What cannot be written is told, and nothing is raised."""

    def __init__(self, journal: Journal, sender: Sender) -> None:
        self._journal, self._sender = journal, sender
        self.key: str = journal.begin["run_key"]
        self._told = {
            (name, event["step"])
            for event, _ in journal.events()
            if event["event"] == "metrics"
            for name in event["values"]
        }

    @property
    def told(self) -> bool:
        """Return whether any metrics have been written, be it by a process that was killed."""
        return bool(self._told)

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
        self._chunks("params", {name: str(value) for name, value in values.items()})

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        self._chunks("tags", dict(values))

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics at `step`, each once: what a training that was killed and goes on tells again is known already."""
        named = {metric_name(name): float(value) for name, value in values.items()}
        new = {name: value for name, value in named.items() if (name, step) not in self._told}
        if new:
            self._write({"event": "metrics", "step": step, "time_ms": _now(), "values": new})
            self._told |= {(name, step) for name in new}

    def dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """Name a dataset that the run used, by the hash under which DVC knows it."""
        self._write({"event": "dataset", "name": name, "digest": digest, "source": source, "context": context})

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Store a file with the run, as it is now."""
        self._write({"event": "artifact", "folder": folder}, path)

    def model(self, path: Path, requirements: list[str]) -> None:
        """Store the trained model with the versions that it needs, and the MD5 by which its run is found."""
        self.tags({MODEL_TAG: file_md5(path)})
        self._write({"event": "model", "requirements": requirements}, path)

    @interrupts.held()
    def finish(self, status: str | None = FINISHED) -> None:
        """End the run FINISHED, FAILED or KILLED; None leaves it as it is. Nothing may be written to it after that."""
        self._write({"event": "finish", "status": status, "time_ms": _now()})
        self._journal.closed = True
        self._sender.wake()

    def _chunks(self, kind: str, values: dict[str, str]) -> None:
        entries = list(values.items())
        for first in range(0, len(entries), BATCH):
            self._write({"event": kind, "values": dict(entries[first : first + BATCH])})

    @interrupts.held()
    def _write(self, event: Event, file: Path | None = None) -> None:
        try:
            self._journal.append(event if file is None else {**event, "file": self._journal.keep(file)})
        except OSError as error:
            print(f"xtcav: {event['event']} of run {self.key} could not be kept: {error}", file=sys.stderr)
        self._sender.wake()


class Tracker:
    """The runs that a command writes, while it is entered; at the end it says whether all that they told has arrived.

    A run that is not finished by then is ended: KILLED on Ctrl-C, otherwise FAILED.

    What killed processes, and those that MLflow did not answer, left in journals is sent, too. A journal of `identity` that
    has no end is gone on with by the next run of that identity, others are ended KILLED.
    """

    def __init__(self, root: Path, identity: str = "") -> None:
        self.root, self.identity = root, identity
        self.store = masked(store_uri(root))
        self.sender = Sender(root)
        self.pending: list[tuple[str, dict[str, str]]] = []  # keys and tags of runs that were not sent before
        self._begun: list[Run] = []
        self._unfinished: Journal | None = None
        self._unanswered = False  # and that was said

    @interrupts.held()
    def __enter__(self) -> Self:
        for journal in ownerless(folder_of(self.root)):
            if journal.begin["store"] != self.store:
                journal.close()
            elif self.identity and journal.begin["identity"] == self.identity and not journal.finished:
                self._unfinished = journal
            else:
                self._send_left(journal)
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
        """Begin a run, below run `parent` if that is given, or go on with the one that was left unfinished.

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
        self.sender.take(journal)
        if parent is None and journal.unsent:
            self._probe()
        run = Run(journal, self.sender)
        self._begun.append(run)
        return run

    @interrupts.held()
    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for run in self._begun:
            if not run.ended:  # its owner was interrupted between two of its lines
                run.finish(KILLED if kind is KeyboardInterrupt else FAILED)
        if self._unfinished is not None:
            self._send_left(self._unfinished)
        left = self.sender.drain()
        if left:
            entries = sum(journal.unsent for journal in left)
            why = "" if self._unanswered else f" ({self.sender.failure or 'no answer'})"
            print(
                f"xtcav: MLflow at {self.store} has not taken {entries} entries of {len(left)} runs{why}; they are kept in "
                "mlruns/journal, and sent by the next stage, `dvc repro` or `xtcav sync`",
                file=sys.stderr,
            )
        elif self.sender.asked.is_set():
            console().print(f"MLflow: all has arrived at {self.store}")
        self.sender.close()

    def _send_left(self, journal: Journal) -> None:
        """Send a journal that another process began, ended as that did, or KILLED when it last wrote."""
        if not journal.finished:
            journal.append({"event": "finish", "status": KILLED, "time_ms": journal.last_written})
        tags = dict(journal.begin["tags"])
        for event, _ in journal.events():
            tags |= event["values"] if event["event"] == "tags" else {}
            tags |= {STATUS: event["status"] or FINISHED} if event["event"] == "finish" else {}
        self.pending.append((journal.begin["run_key"], tags))
        journal.closed = True
        self.sender.take(journal)

    def _probe(self) -> None:
        """Give the store a moment to answer for the first time, and say so if it does not."""
        self.sender.asked.wait(next(seconds for scheme, seconds in PROBE.items() if self.store.startswith(scheme)))
        if self.sender.failure or not self.sender.asked.is_set():
            self._unanswered = True
            said = self.sender.failure or f"MLflow at {self.store} has not answered yet"
            print(f"xtcav: {said}; until it answers, all is kept in mlruns/journal, and nothing waits", file=sys.stderr)


def _now() -> int:
    return time.time_ns() // 1_000_000
