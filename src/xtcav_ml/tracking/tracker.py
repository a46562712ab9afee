"""Runs to log to: each writes a journal on disk, which a thread uploads to MLflow meanwhile, and a later command if need be.

Training continues whether MLflow answers or not; if it does not, a message is printed. Requests to stop are held back while
a lock may be held that the thread needs.
"""

import contextlib
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from xtcav_ml.lineage.lineage import file_md5
from xtcav_ml.system import interrupts
from xtcav_ml.system.errors import FULL, DiskFull, disk_full, reason, warn
from xtcav_ml.system.progress import console
from xtcav_ml.tracking.journal import EVENTS, Journal, folder_of, ownerless
from xtcav_ml.tracking.mlflow_names import EXPERIMENT, MODEL_TAG, SYSTEM, storable, storable_name, store_name
from xtcav_ml.tracking.uploader import Uploader

PROBE = {"http": 5.0, "database": 60.0}  # seconds until training begins without an answer; a database may be created
FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"
EVENT_VALUES = 100  # most parameters or tags of an event


class Run:
    """One run to log to, also as a listener of `fit`. What cannot be written causes a message, and nothing is raised.

    If it is `required`, a full disk raises UserError.
    """

    def __init__(self, journal: Journal, uploader: Uploader, required: bool = False) -> None:
        self.journal, self._uploader, self._required = journal, uploader, required
        self.key: str = journal.begin["run_key"]
        metrics = [event for event, _ in journal.events() if event["event"] == "metrics"]  # of a killed process
        self.logged = {(name, event["step"]) for event in metrics for name in event["values"]}
        self.no_room: list[str] = []  # messages of what a full disk has not taken

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters, in the order of `values`."""
        self._write_values("params", {storable_name(name): str(value) for name, value in values.items()})

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        self._write_values("tags", values)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics at `step`, each once: a training that resumes repeats what it logged before it was killed."""
        named = {name: float(value) for name, value in storable(values).items()}
        new = {name: value for name, value in named.items() if (name, step) not in self.logged}
        if new:
            self._write("metrics", step=step, time_ms=_now(), values=new)
            self.logged |= {(name, step) for name in new}

    def on_step(self, step: int, steps: int) -> None:
        """MLflow gets whole epochs."""

    def on_resume(self, epochs: int, remarks: Sequence[str]) -> None:
        """Tag the epoch after which an earlier process was stopped, if one was resumed."""
        if epochs:
            self.tags({"resumed_after_epoch": str(epochs)})

    def on_epoch(self, epoch: int, values: dict[str, float], seconds: Mapping[str, float]) -> None:
        """Log the epoch's values, and the seconds of its parts, at step `epoch`."""
        self.metrics({**values, **{f"{SYSTEM}seconds_{name}": value for name, value in seconds.items()}}, step=epoch)

    def dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """Log a dataset that the run used, by the hash under which DVC knows it."""
        self._write("dataset", name=name, digest=digest, source=source, context=context)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file, as it is now, as an artifact."""
        self._write("artifact", path, folder=folder)

    def model(self, path: Path, requirements: list[str]) -> None:
        """Log the trained model with the versions that it needs, and the MD5 by which its run is looked up."""
        self.tags({MODEL_TAG: file_md5(path)})
        self._write("model", path, requirements=requirements)

    def finish(self, status: str = FINISHED, time_ms: int | None = None) -> None:
        """End the run FINISHED, FAILED or KILLED, or leave it as it is if this adds to it. Nothing may be logged after that."""
        self._write("finish", status=None if self.journal.begin["adds"] else status, time_ms=time_ms or _now())

    def _write_values(self, kind: str, values: Mapping[str, str]) -> None:
        entries = list(values.items())
        for first in range(0, len(entries), EVENT_VALUES):
            self._write(kind, values=dict(entries[first : first + EVENT_VALUES]))

    @interrupts.held()
    def _write(self, kind: str, file: Path | None = None, **fields: Any) -> None:
        try:
            copy = {} if file is None else self.journal.copy(file)
            self.journal.append({"event": kind, **fields, **copy})
        except OSError as error:
            message = (
                f"{file or self.journal.folder}: {kind} of run {self.key} not logged (found {reason(error)!r}, expected a "
                "readable file and room on the disk). Fix: free the disk, or make the file readable"
            )
            if full := disk_full(error, file or self.journal.folder):
                if self._required:
                    raise full from None
                self.no_room.append(message)
            else:
                warn(message)
        self._uploader.wake.set()


class Tracker:
    """The runs that a command logs to, while it is entered; at the end it prints whether all is uploaded.

    A run that is not finished by then is ended: KILLED on Ctrl-C, otherwise FAILED. Journals that earlier processes left,
    killed or without an answer of MLflow, are uploaded too. The next run of the same `identity`, or a child of it with the same
    key, resumes one that has no end; others are ended KILLED.

    If logging is `required`, since it is all that the command does, a full disk on this machine raises UserError.
    """

    def __init__(self, root: Path, identity: str = "", experiment: str = EXPERIMENT, required: bool = False) -> None:
        self.root, self.identity, self.experiment, self.required = root, identity, experiment, required
        self.store = store_name(root)
        self.uploader = Uploader(root)
        self.left: dict[str, dict[str, str]] = {}  # tags and status, by key, of runs not uploaded whole before
        self._begun: list[Run] = []
        self._unfinished: list[Journal] = []

    @interrupts.held()
    def __enter__(self) -> Self:
        for journal in ownerless(folder_of(self.root)):
            if journal.begin["store"] != self.store:
                journal.close()
            elif self.identity and journal.begin["identity"] == self.identity and not journal.finished:
                self._unfinished.append(journal)
            else:
                self._upload_left(journal)
        return self

    @property
    def resumes(self) -> bool:
        """Return whether a run of this identity was left without an end."""
        return bool(self._unfinished)

    @interrupts.held()
    def start(
        self,
        name: str,
        tags: Mapping[str, str],
        parent: Run | None = None,
        run_key: str = "",
        adds: bool = False,
        common: bool = False,
    ) -> Run:
        """Begin a run, below run `parent` if that is given, or resume the one that was left unfinished.

        `run_key` names a run that may be in MLflow already, and then runs again; with `adds` it is there, and stays as it is.
        A `common` one may be written by several processes at a time, all the same values: it gets them once.
        """
        journal = self._take_unfinished(parent, run_key)
        if journal is None:
            begin = {
                "event": "begin",
                "run_key": run_key or uuid.uuid4().hex,
                "store": self.store,
                "identity": self.identity,
                "experiment": self.experiment,
                "name": name,
                "parent": parent.key if parent else None,
                "tags": dict(tags),
                "adds": adds,
                "common": common or adds,
                "time_ms": _now(),
            }
            journal = Journal.create(folder_of(self.root), uuid.uuid4().hex, begin)
        self.uploader.add(journal)
        if parent is None and journal.pending:  # give the store a moment to answer for the first time
            self.uploader.tried.wait(PROBE["http" if self.store.startswith("http") else "database"])
            failed = self.uploader.failure or not self.uploader.tried.is_set()
            if failed and not FULL.search(self.uploader.failure):  # which the end tells
                self._warn("run data are not uploaded yet, and training continues", "start the server")
        self._begun.append(Run(journal, self.uploader, self.required))
        return self._begun[-1]

    @interrupts.held()
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        for run in self._begun:
            if not run.journal.finished:
                with contextlib.suppress(DiskFull):
                    run.finish(KILLED if kind is KeyboardInterrupt else FAILED)
        for journal in self._unfinished:
            self._upload_left(journal)
        pending = self.uploader.drain()
        full = disk_full(error) if error else None
        if error is None and pending and self.required and not self.store.startswith("http"):
            full = disk_full(OSError(self.uploader.failure), self.store)
        if not full:  # whose one line is enough
            self._tell(pending)
        self.uploader.close()
        if full and error is None:
            raise full

    def _tell(self, pending: Sequence[Journal]) -> None:
        """Print what a full disk has not taken, and whether all else is uploaded."""
        no_room = [message for run in self._begun for message in run.no_room]
        if no_room:
            warn(no_room[0] + f"; so are {len(no_room) - 1} other entries" * (len(no_room) > 1))
        if pending:
            self._warn(
                f"{sum(journal.pending for journal in pending)} entries of {len(pending)} runs not uploaded",
                "run `xtcav sync`; the next stage or `dvc repro` uploads them too",
            )
        elif self.uploader.tried.is_set():
            console().print(f"MLflow: all uploaded to {self.store}")

    def _take_unfinished(self, parent: Run | None, run_key: str) -> Journal | None:
        """Return the journal of a run without an end: of the identity's own one, or of the child with this key."""
        for journal in reversed(self._unfinished):
            if journal.begin["parent"] is None if parent is None else journal.begin["run_key"] == run_key:
                self._unfinished.remove(journal)
                return journal
        return None

    def _upload_left(self, journal: Journal) -> None:
        """Upload a journal that another process began, ended as that did, or KILLED when it last wrote."""
        if not journal.finished:
            Run(journal, self.uploader).finish(KILLED, (journal.folder / EVENTS).stat().st_mtime_ns // 1_000_000)
        tags = self.left.setdefault(journal.begin["run_key"], {})
        tags |= journal.begin["tags"]
        for event, _ in journal.events():
            tags |= event["values"] if event["event"] == "tags" else {}
            tags |= {"status": event["status"] or FINISHED} if event["event"] == "finish" else {}
        self.uploader.add(journal)

    def _warn(self, problem: str, cure: str) -> None:
        why = self.uploader.failure or "no answer"
        if ". Fix:" in why:  # it has a cure of its own
            warn(f"mlruns/journal: {problem}: {why}")
            return
        warn(f"mlruns/journal: {problem} (found {why!r}, expected an answer from MLflow at {self.store}). Fix: {cure}")


def _now() -> int:
    return time.time_ns() // 1_000_000
