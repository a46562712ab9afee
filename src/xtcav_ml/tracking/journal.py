"""A run's log on disk: a folder of events for each run, from which `mlflow_writer.upload_next` uploads to MLflow.

`events.jsonl` has a line of JSON for each event, on disk (fsync) before the call returns; a last line that a kill has torn
is cut off when the journal is opened again. `files` has copies of the files that events name, `uploaded.json` the byte up to
which all is uploaded. A process that writes or uploads holds a lock on the events, which the system releases when the process
ends: a journal that can be locked has no living owner. It is removed when the run has ended and all is uploaded.

MLflow's own asynchronous logging keeps what is waiting in memory only: a kill, or a server that is down, loses it.
"""

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from xtcav_ml.system import atomic
from xtcav_ml.system.errors import reason, warn

EVENTS, UPLOADED, FILES, GONE = "events.jsonl", "uploaded.json", "files", ".gone-"
STALE = 3600.0  # seconds after which a journal without its first event is taken for that of a killed process

Event = dict[str, Any]
"""An event's kind is in its `event`: begin, params, metrics, tags, dataset, artifact, model, finish. The first is `begin`."""


def folder_of(root: Path) -> Path:
    """Return the folder of a project's journals. An experiment in a temporary folder has them in the project's own."""
    return root / "mlruns" / "journal"


class Journal:
    """One run's journal, locked for this process until it is closed. One thread may write to it while another uploads."""

    def __init__(self, folder: Path, file: BinaryIO) -> None:
        self.folder, self._file = folder, file
        self.size = file.seek(0, os.SEEK_END)  # bytes that are on disk for certain
        self.begin: Event = {}
        self.finished = False  # whether the run's end is written, the last event
        self.offset = 0  # the store has what is before this byte, in this run:
        self.run_id: str | None = None
        self.experiment_id: str | None = None
        for event, _ in self.events():
            self._follow(event)
        with contextlib.suppress(OSError, ValueError, KeyError):  # to upload it all again changes nothing in the store
            state = json.loads((folder / UPLOADED).read_text())
            self.offset, self.run_id, self.experiment_id = state["offset"], state["run_id"], state["experiment_id"]

    @classmethod
    def create(cls, parent: Path, name: str, begin: Event) -> "Journal":
        """Create the journal `parent`/`name` with its first event. It exists whole and locked, or not at all."""
        with atomic.replacing(parent / name) as temporary:
            temporary.mkdir()
            file = (temporary / EVENTS).open("x+b", buffering=0)
            fcntl.flock(file, fcntl.LOCK_EX)
            journal = cls(temporary, file)
            journal.append(begin)
        journal.folder = parent / name
        return journal

    @classmethod
    def open(cls, folder: Path) -> "Journal | None":
        """Return the journal in `folder` without a torn last line, or None if it has a living owner, or is gone."""
        with contextlib.suppress(BlockingIOError, FileNotFoundError), contextlib.ExitStack() as stack:
            file = stack.enter_context((folder / EVENTS).open("r+b", buffering=0))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(file.read().rfind(b"\n") + 1)
            if os.fstat(file.fileno()).st_nlink:
                journal = cls(folder, file)
                stack.pop_all()
                return journal
        return None

    def append(self, event: Event) -> None:
        """Write an event; it is on disk when this returns. Raises OSError, and leaves the journal as it was."""
        line = json.dumps(event).encode() + b"\n"
        try:
            self._file.seek(self.size)
            written = self._file.write(line)
            if written != len(line):
                raise OSError(f"{written} of {len(line)} bytes written")
            os.fsync(self._file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(self.size)
            raise
        self.size += len(line)
        self._follow(event)

    def copy(self, path: Path) -> str:
        """Copy a file into the journal, where no stage changes it, and return its name there."""
        (self.folder / FILES).mkdir(exist_ok=True)
        copied = Path(tempfile.mkdtemp(dir=self.folder / FILES)) / path.name
        with atomic.replacing(copied) as temporary:
            shutil.copyfile(path, temporary)
        return str(copied.relative_to(self.folder))

    def events(self, offset: int = 0) -> Iterator[tuple[Event, int]]:
        """Give the events that begin at byte `offset` or after it, each with the byte at which it ends."""
        with (self.folder / EVENTS).open("rb") as file:
            file.seek(offset)
            while offset < self.size:
                line = file.readline()
                offset += len(line)
                yield json.loads(line), offset

    def acknowledge(self, offset: int, run_id: str | None, experiment_id: str | None) -> None:
        """Remember that the store has all up to byte `offset`, in run `run_id`."""
        self.offset, self.run_id, self.experiment_id = offset, run_id, experiment_id
        if not self._file.closed:  # else a late reply: the event is sent again
            state = {"offset": offset, "run_id": run_id, "experiment_id": experiment_id}
            atomic.write_json(self.folder / UPLOADED, state)

    @property
    def pending(self) -> int:
        """Return how many events the store has not acknowledged."""
        return sum(1 for _ in self.events(self.offset)) if self.offset < self.size else 0

    def close(self) -> None:
        """Release the journal; it is removed if the run's end is written and the store has it all."""
        if self._file.closed:
            return
        if self.finished and self.offset >= self.size:
            gone = self.folder.rename(self.folder.parent / f"{GONE}{self.folder.name}")  # a kill leaves no half journal
            shutil.rmtree(gone, ignore_errors=True)
        self._file.close()

    def _follow(self, event: Event) -> None:
        self.begin = self.begin or event
        self.finished |= event["event"] == "finish"


def ownerless(parent: Path) -> Iterator[Journal]:
    """Give the journals in `parent` that no living process owns, the oldest first, and sweep what kills have left.

    Other processes add and remove journals meanwhile. One that cannot be read is skipped with a message.
    """
    ages: list[tuple[float, Path]] = []
    for folder in parent.glob("*"):
        with contextlib.suppress(FileNotFoundError):  # begun, or uploaded and removed, meanwhile
            changed = folder.stat().st_ctime
            if not folder.name.startswith("."):
                ages.append((changed, folder))
            elif folder.name.startswith(GONE) or time.time() - changed > STALE:
                shutil.rmtree(folder, ignore_errors=True)
    for _, folder in sorted(ages):
        try:
            if journal := Journal.open(folder):
                yield journal
        except (OSError, ValueError) as error:
            warn(
                f"{folder / EVENTS}: unreadable journal, skipped (found {reason(error)!r}, expected lines of JSON). "
                f"Fix: move {folder} away"
            )
