"""Opening HDF5 files to read, and creating them whole or not at all."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import h5py
from numpy.typing import DTypeLike

from xtcav_ml import atomic
from xtcav_ml.errors import UserError

COMPLETE = "complete"
"""Root attribute, set last: a file without it was not finished."""


@contextlib.contextmanager
def creating(path: Path) -> Iterator[h5py.File]:
    """Give a new HDF5 file that appears at `path`, marked complete and fsynced, only if the block succeeds.

    The same contents give the same bytes (no timestamps, no creation order).
    """
    with atomic.replacing(path) as temporary, h5py.File(temporary, "w", libver="earliest") as file:
        yield file
        file.attrs[COMPLETE] = True


def create_rows(file: h5py.File, name: str, rows: int, row_shape: tuple[int, ...], dtype: DTypeLike) -> h5py.Dataset:
    """Return a new dataset of shape (rows, *row_shape) with a fletcher32 checksum, one chunk a row.

    Scalars (row_shape ()) go into a single chunk.
    """
    if rows == 0:  # nothing to check, and no chunk is small enough
        return file.create_dataset(name, shape=(0, *row_shape), dtype=dtype)
    chunks = (1, *row_shape) if row_shape else (rows,)
    return file.create_dataset(name, shape=(rows, *row_shape), dtype=dtype, chunks=chunks, fletcher32=True)


@contextlib.contextmanager
def reading(path: Path, cache_bytes: int = 2**20) -> Iterator[h5py.File]:
    """Open a file to read; what HDF5 finds wrong with its contents is the user's to mend, and says so in one line."""
    before = _state(path)
    try:
        with h5py.File(path, "r", locking=False, rdcc_nbytes=cache_bytes) as file:
            yield file
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: must be a readable HDF5 file, got {reason!r}; make it anew or remove it") from None
    if _state(path) != before:
        raise UserError(
            f"{path}: must not change while it is read, but somebody wrote to it; wait for them, then start again"
        )


def _state(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is written to or replaced; nothing if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns
