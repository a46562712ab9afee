"""Opening HDF5 files to read, and creating them whole or not at all."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
from numpy.typing import DTypeLike

from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError, file_error

COMPLETE = "complete"
"""Root attribute, set last: a file without it was not finished."""


class NewFile(h5py.File):  # type: ignore[misc]
    """An HDF5 file being written. What the disk refuses is kept and told at the end, or by `check`, in one line."""

    def __init__(self, path: Path) -> None:
        self._disk = _Disk(path)
        super().__init__(self._disk, "w", libver="earliest")

    def close_disk(self) -> None:
        """Close what lies under the HDF5 file."""
        self._disk.close()

    def check(self) -> None:
        """Raise UserError if something could not be written: call it now and then in a long loop."""
        if self._disk.failure is not None:
            raise file_error(self._disk.path, self._disk.failure)


class _Disk(io.RawIOBase):
    """A file for HDF5 to write to, in which no write ever fails.

    HDF5 does not recover from a failed write: the interpreter crashes when it ends. So the first failure is kept, what
    comes after it is thrown away, and HDF5 ends in order.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failure: OSError | None = None
        self._file = path.open("w+b", buffering=0)

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while len(rest) and self.failure is None:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self.failure = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            if self.failure is None:
                self._file.truncate(size)
        except OSError as error:
            self.failure = error
        return self._file.tell() if size is None else size

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        pass  # nothing is held back; `atomic` brings the whole file to the disk

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


@contextlib.contextmanager
def creating(path: Path) -> Iterator[NewFile]:
    """Give a new HDF5 file that appears at `path`, marked complete and fsynced, only if the block succeeds.

    The same contents give the same bytes (no timestamps, no creation order). Raises UserError if the disk is full.
    """
    with atomic.replacing(path) as temporary:
        file = NewFile(temporary)
        try:
            with file:
                yield file
                file.attrs[COMPLETE] = True
            file.check()
        finally:
            file.close_disk()


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
    before = state(path)
    with told(path), h5py.File(path, "r", locking=False, rdcc_nbytes=cache_bytes) as file:
        yield file
    require_unchanged(path, before)


def attributes_of(path: Path) -> dict[str, Any]:
    """Return the root attributes of a file that `creating` wrote; none if it is not there, not whole or not readable."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return dict(file.attrs) if file.attrs.get(COMPLETE) else {}
    except OSError:
        return {}


@contextlib.contextmanager
def told(path: Path, dataset: str | None = None) -> Iterator[None]:
    """Turn what HDF5 or the disk says of a file, or of a dataset in it, into a UserError that names it."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        what = f"{path}: {dataset}: not readable" if dataset else f"{path}: not a readable HDF5 file"
        raise UserError(f"{what} ({reason}). Fix: write the file again, or remove it") from None


def state(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is written to or replaced; nothing if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def require_unchanged(path: Path, before: tuple[int, ...]) -> None:
    """Raise UserError if the file is not in the `state` that it was in before."""
    if state(path) != before:
        raise UserError(f"{path}: changed while it was read. Fix: wait until nobody writes to it, then start again")
