"""A run's log on disk: a folder of events for each run, from which `mlflow_writer.upload_next` uploads to MLflow.

`events.jsonl` has a line of JSON for each event, with its number and checksum, on disk (fsync) before the call returns; a last
line that a kill has torn is cut off when the journal is opened again. `files` has copies of the files that events name, with
their SHA-256 there, `uploaded.json` the byte up to which all is uploaded. A journal that is damaged otherwise is set aside.
A process that writes or uploads holds a lock on the events, which the system releases when the process ends: a journal that
can be locked has no living owner. It is removed when the run has ended and all is uploaded.

MLflow's own asynchronous logging keeps what is waiting in memory only: a kill, or a server that is down, loses it.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, BinaryIO

from xtcav_ml.system import atomic, lines, one_writer
from xtcav_ml.system.errors import reason, warn

EVENTS, UPLOADED, FILES, GONE = "events.jsonl", "uploaded.json", "files", ".gone-"
DAMAGED = "damaged"  # folder beside that of the journals
NUMBER = "number"  # of an event in its journal, from 0
STALE = 3600.0  # seconds after which a journal without its first event is taken for that of a killed process

Event = dict[str, Any]
"""An event's kind is in its `event`. The first is `begin`."""

FIELDS: dict[str, dict[str, type | UnionType]] = {
    "begin": {**dict.fromkeys(("run_key", "store", "identity", "experiment", "name"), str), "parent": str | None}
    | {"tags": dict, "adds": bool, "time_ms": int},
    "params": {"values": dict},
    "metrics": {"values": dict, "step": int, "time_ms": int},
    "tags": {"values": dict},
    "dataset": dict.fromkeys(("name", "digest", "source", "context"), str),
    "artifact": {"file": str, "folder": str | None},
    "model": {"file": str, "requirements": list},
    "finish": {"status": str | None, "time_ms": int},
}
"""The fields of an event, by its kind."""


def folder_of(root: Path) -> Path:
    """Return the folder of a project's journals. An experiment in a temporary folder has them in the project's own."""
    return root / "mlruns" / "journal"


class Journal:
    """One run's journal, locked for this process until it is closed. One thread may write to it while another uploads."""

    def __init__(self, folder: Path, file: BinaryIO) -> None:
        self.folder, self._file = folder, file
        self.size = file.seek(0, os.SEEK_END)  # bytes that are on disk for certain
        self.begin: Event = {}
        self._count = 0  # of its events
        self.finished = False  # whether the run's end is written, the last event
        self.offset = 0  # the store has what is before this byte, in this run:
        self.run_id: str | None = None
        self.experiment_id: str | None = None
        ends = []
        for event, end in self.events():
            self._follow(event)
            ends.append(end)
        with contextlib.suppress(OSError, ValueError, KeyError):  # to upload it all again changes nothing in the store
            state, _ = lines.parse((folder / UPLOADED).read_text(encoding="utf-8"))
            if state["offset"] in ends:
                self.offset, self.run_id, self.experiment_id = state["offset"], state["run_id"], state["experiment_id"]

    @classmethod
    def create(cls, parent: Path, name: str, begin: Event) -> "Journal":
        """Create the journal `parent`/`name` with its first event. It exists whole and locked, or not at all."""
        with atomic.replacing(parent / name) as temporary:
            temporary.mkdir()
            file = (temporary / EVENTS).open("x+b", buffering=0)
            one_writer.locked(file)
            journal = cls(temporary, file)
            journal.append(begin)
        journal.folder = parent / name
        return journal

    @classmethod
    def open(cls, folder: Path) -> "Journal | None":
        """Return the journal in `folder` without a torn last line, or None if it has a living owner, or is gone.

        Raises ValueError if it is damaged.
        """
        with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as stack:
            file = stack.enter_context((folder / EVENTS).open("r+b", buffering=0))
            if not one_writer.locked(file, wait=False, without=False):
                return None
            content = file.read()
            whole = content.rfind(b"\n") + 1
            if not whole or lines.CHECKED.fullmatch(content[whole:-1].decode(errors="replace")):
                raise ValueError("no end of a line")  # a kill tears a line before its last byte
            file.truncate(whole)
            if os.fstat(file.fileno()).st_nlink:
                journal = cls(folder, file)
                stack.pop_all()
                return journal
        return None

    def append(self, event: Event) -> None:
        """Write an event; it is on disk when this returns. Raises OSError, and leaves the journal as it was."""
        line = lines.line({**event, NUMBER: self._count}).encode() + b"\n"
        try:
            self._file.seek(self.size)
            rest = memoryview(line)
            while rest:  # a full disk takes a part, and raises at the next write
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(self.size)
            raise
        self.size += len(line)
        self._follow(event)

    def copy(self, path: Path) -> dict[str, str]:
        """Copy a file into the journal, where no stage changes it, and return its name there and its SHA-256, for an event."""
        (self.folder / FILES).mkdir(exist_ok=True)
        made = tempfile.mkdtemp(dir=self.folder / FILES)  # absolute from Python 3.12 on
        copied = self.folder / FILES / Path(made).name / path.name
        with atomic.replacing(copied) as temporary:
            shutil.copyfile(path, temporary)
        return {"file": str(copied.relative_to(self.folder)), "sha256": _sha256(copied)}

    def file_of(self, event: Event) -> Path:
        """Return the copy that an event names. Raises FileNotFoundError if it is missing or damaged."""
        path: Path = self.folder / event["file"]
        if _sha256(path) != event.get("sha256", _sha256(path)):
            raise FileNotFoundError(f"a damaged copy, {path}")
        return path

    def events(self, offset: int = 0) -> Iterator[tuple[Event, int]]:
        """Give the events that begin at byte `offset` or after it, each with the byte at which it ends.

        Raises ValueError if a line is damaged, missing or of another shape.
        """
        number = None if offset else 0  # of the next line, if it is known
        older = True  # no line with a checksum came yet: an earlier version wrote none
        with (self.folder / EVENTS).open("rb") as file:
            file.seek(offset)
            while offset < self.size:
                text = file.readline()
                offset += len(text)
                event, checked = lines.parse(text.decode().removesuffix("\n"))
                found = event.pop(NUMBER, None)
                if checked != (found is not None) or (number not in (found, None) and (checked or not older)):
                    raise ValueError(f"line {found} for line {number}")
                _require_shape(event, first=offset == len(text))
                older &= not checked
                number = None if found is None else found + 1
                yield event, offset

    def acknowledge(self, offset: int, run_id: str | None, experiment_id: str | None) -> None:
        """Remember that the store has all up to byte `offset`, in run `run_id`."""
        self.offset, self.run_id, self.experiment_id = offset, run_id, experiment_id
        if not self._file.closed:  # else a late reply: the event is sent again
            state = {"offset": offset, "run_id": run_id, "experiment_id": experiment_id}
            with atomic.replacing(self.folder / UPLOADED) as temporary:
                temporary.write_text(lines.line(state), encoding="utf-8")

    @property
    def pending(self) -> int:
        """Return how many events the store has not acknowledged; 1 if they were damaged since the journal was opened."""
        try:
            return sum(1 for _ in self.events(self.offset)) if self.offset < self.size else 0
        except (OSError, ValueError):  # who opens it next sets it aside, with a line
            return 1

    def close(self) -> None:
        """Release the journal; it is removed if the run's end is written and the store has it all."""
        if self._file.closed:
            return
        if self.finished and self.offset >= self.size:
            gone = self.folder.rename(self.folder.parent / f"{GONE}{self.folder.name}")  # a kill leaves no half journal
            shutil.rmtree(gone, ignore_errors=True)
        self._file.close()

    def _follow(self, event: Event) -> None:
        self._count += 1
        self.begin = self.begin or event
        self.finished |= event["event"] == "finish"


def _require_shape(event: Event, *, first: bool) -> None:
    """Raise ValueError unless an event has the fields of its kind; the first one, and no other, begins the run."""
    fields = FIELDS.get(str(event.get("event")))
    wrong = fields is None or any(not isinstance(event.get(name), kind) for name, kind in fields.items())
    if wrong or first != (event["event"] == "begin"):
        raise ValueError(f"an event of another shape, {event.get('event')!r}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def ownerless(parent: Path) -> Iterator[Journal]:
    """Give the journals in `parent` that no living process owns, the oldest first, and sweep what kills have left.

    Other processes add and remove journals meanwhile. One that cannot be read is skipped with a message, one that is damaged
    set aside.
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
            try:
                if journal := Journal.open(folder):
                    yield journal
            except ValueError as error:
                _set_aside(folder, error)
        except OSError as error:
            warn(
                f"{folder / EVENTS}: unreadable journal, skipped (found {reason(error)!r}, expected a readable file). "
                f"Fix: move {folder} away"
            )


def _set_aside(folder: Path, error: ValueError) -> None:
    """Move a damaged journal out of the way of the others."""
    aside = folder.parent.parent / DAMAGED / folder.name
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        aside.parent.mkdir(exist_ok=True)
        if aside.exists():  # of an earlier damage
            aside = aside.with_name(f"{aside.name}-{time.time_ns()}")
        folder.rename(aside)
        warn(
            f"{folder / EVENTS}: damaged journal, set aside as {aside} (found {reason(error)!r}, expected the events that were "
            "written). Fix: run `xtcav record`, which logs the present results, and remove it"
        )
