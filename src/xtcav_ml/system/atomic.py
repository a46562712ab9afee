"""Files that are complete or absent: written under another name, fsynced, renamed, and the folder fsynced.

The packages for this replace single files; stages write folders too, and HDF5 through a file of its own (`data/hdf5`).
"""

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
    """Yield a temporary path next to `path`; on success it replaces `path`, on any error it is removed.

    Works for a file or a folder. Removes leftovers of killed writers of the same path first, but not those of living ones:
    the last to end wins. After an interrupt `path` is the old or the new one; after a kill a folder may also be missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.tmp.*"):
        if not _of_living(leftover):
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
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a write does not say to which file
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
    """Write rows as CSV, the same bytes for the same rows.

    Columns are all names, in the order in which they first occur; a value that a row lacks is an empty field.
    """
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, dict.fromkeys(name for row in rows for name in row), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _of_living(temporary: Path) -> bool:
    """Return whether another process that lives writes a temporary file, by the number at the end of its name.

    A file with this process's number is a dead one's that had it before.
    """
    number = temporary.name.rpartition(".")[2]
    if not number.isdigit() or int(number) == os.getpid():
        return False
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it lives, under another user
        pass
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
