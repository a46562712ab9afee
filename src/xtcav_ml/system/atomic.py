"""Files that are there whole or not at all: written beside, fsynced, renamed, and the folder fsynced."""

import contextlib
import csv
import glob
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it takes the place of `path`, on any error it is removed.

    Works for a file or a folder. Leftovers of killed writers of the same path are swept first, those of living ones are not:
    the last to end wins. At an interrupt `path` is what it was or what it shall be, at a kill a folder may also be missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.tmp.*"):
        if not _of_another(leftover):
            _remove(leftover)
    temporary = path.parent / f".{path.name}.tmp.{os.getpid()}"
    aside = path.parent / f".{path.name}.tmp.old.{os.getpid()}"
    try:
        yield temporary
        for written in sorted(temporary.rglob("*")) if temporary.is_dir() else [temporary]:
            if written.is_file():
                _fsync(written)
        if temporary.is_dir():
            _fsync(temporary)
            if path.exists():  # a folder cannot be renamed over a full one, and removing it here could be cut short
                path.rename(aside)
        temporary.replace(path)
        _fsync(path.parent)
        _remove(aside)
    except BaseException:
        if aside.exists() and not path.exists():
            aside.rename(path)
        _remove(temporary)
        _remove(aside)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON with sorted keys, the same bytes for the same value."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows as CSV by the names of their values, the same bytes for the same rows.

    Columns are all names, in the order in which they first occur; a row without one has an empty field there.
    """
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, dict.fromkeys(name for row in rows for name in row), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _of_another(temporary: Path) -> bool:
    """Return whether a temporary file is of a process that lives, by the number at its end, and is not this one.

    One of this process's number is of a dead one that had it before.
    """
    number = temporary.name.rpartition(".")[2]
    if not number.isdigit() or int(number) == os.getpid():
        return False
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it lives, and is somebody else's
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
