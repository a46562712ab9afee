"""Opening HDF5 files for reading, and creating them whole or not at all."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from xtcav_ml.system import atomic, interrupts, seal
from xtcav_ml.system.errors import UserError, file_error, reason

COMPLETE = "complete"  # root attribute, set last: a file without it was not finished

UNREADABLE = (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError, AttributeError, MemoryError)
"""What HDF5 and h5py raise on bytes that are no HDF5, or that declare what they cannot read."""


def real(path: Path) -> Path:
    """Return a path without links; links in a circle stay, where `Path.resolve` raises RuntimeError."""
    return Path(os.path.realpath(path))


class _Disk(io.FileIO):
    """A file for HDF5 to write to, in which no write ever fails.

    HDF5 does not recover from a failed write: the interpreter crashes when it exits. So the first failure is kept, later
    writes are dropped, and HDF5 closes in order. A request to stop waits until HDF5 has the answer.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.failure: OSError | None = None

    @interrupts.without_caller
    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while len(rest) and self.failure is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.failure = error
        return size

    @interrupts.without_caller
    def truncate(self, size: int | None = None) -> int:
        try:
            if self.failure is None:
                super().truncate(size)
        except OSError as error:
            self.failure = error
        return self.tell() if size is None else size


class NewFile(h5py.File):  # type: ignore[misc]
    """An HDF5 file that is being written."""

    def __init__(self, disk: _Disk) -> None:
        self._disk = disk
        self.unsealed = (0, 0)  # first byte and size of a part that has checksums of its own
        super().__init__(disk, "w", libver="earliest")

    def check(self) -> None:
        """Raise UserError if a write failed, as `creating` does at the end; for use in a long loop."""
        if self._disk.failure is not None:
            raise file_error(self._disk.name, self._disk.failure)


@contextlib.contextmanager
def creating(path: Path, *, sealed: bool = False) -> Iterator[NewFile]:
    """Give a new HDF5 file that appears at `path`, marked complete and fsynced, only if the block succeeds.

    A file that this package reads again is `sealed`. The same contents give the same bytes (no timestamps, no creation order).
    Raises UserError if the disk is full.
    """
    with atomic.replacing(path) as temporary:
        with _Disk(temporary) as disk:
            with NewFile(disk) as file:
                yield file
                file.attrs[COMPLETE] = True
            if sealed:
                disk.seek(0, os.SEEK_END)
                disk.write(seal.ROOM)
            file.check()
        if sealed:
            seal.seal(temporary, file.unsealed)


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
    """Give a file open for reading. Raises UserError if HDF5 cannot read it, or it changes meanwhile."""
    before = file_state(path)
    with refusing_unreadable(path):
        if path.exists() and not path.is_file():  # opening a pipe would wait for its writer
            raise OSError("a folder" if path.is_dir() else "a pipe or a device")
        with h5py.File(path, "r", locking=False, rdcc_nbytes=cache_bytes) as file:
            yield file
    require_unchanged(path, before)


def attributes_of(path: Path) -> dict[str, Any]:
    """Return the root attributes of a file that `creating` wrote and sealed; none if it is missing or damaged."""
    if not path.is_file() or seal.left_out(path) is None:  # HDF5 may read a damaged file for ever
        return {}
    try:
        with reading(path) as file:
            return dict(file.attrs) if file.attrs.get(COMPLETE) else {}
    except UserError:
        return {}


@contextlib.contextmanager
def refusing_unreadable(path: Path, dataset: str | None = None) -> Iterator[None]:
    """Raise what HDF5 or the disk reports of a file, or of a dataset in it, as a UserError that names it."""
    try:
        yield
    except UNREADABLE as error:
        problem = f"{path}: {dataset}: not readable" if dataset else f"{path}: not a readable HDF5 file"
        raise UserError(
            f"{problem} (found {reason(error)!r}, expected intact HDF5). Fix: copy the file again, or remove it"
        ) from None


def file_state(path: Path) -> tuple[int, ...]:
    """Return inode, size (bytes) and time of the last change (ns), which differ once a file is written to or replaced.

    () if it is missing.
    """
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns


def bytes_of(array: NDArray[Any]) -> memoryview:
    """Return the bytes of an array that lies in one piece, to be read and written."""
    return memoryview(array.reshape(-1).view(np.uint8).data)


def read_into(memory: memoryview, descriptor: int, offset: int) -> int:
    """Fill `memory` (bytes) from a byte of a file on; return how many there were.

    For data in one piece: the system copies them in less time than HDF5, or the page faults of a memory map, take.
    """
    done = os.preadv(descriptor, [memory], offset)
    while 0 < done < len(memory) and (size := os.preadv(descriptor, [memory[done:]], offset + done)):
        done += size
    return done


def require_unchanged(path: Path, before: tuple[int, ...]) -> None:
    """Raise UserError if the file is not in the `state` that it was in before."""
    if file_state(path) != before:
        raise UserError(
            f"{path}: changed while it was read (found inode, bytes, ns {file_state(path)}, expected {before}). "
            "Fix: wait for its writer to end"
        )
