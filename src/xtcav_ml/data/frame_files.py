"""Frames that lie in one piece in each of several files, read straight into the array that is asked for."""

import io
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.data.hdf5 import bytes_of, file_state, read_into, require_unchanged
from xtcav_ml.data.shards import cure
from xtcav_ml.system.errors import UserError

MOST_OPEN = 256  # files open at a time: a process often may have 1024 file descriptors
ALIGNMENT = 64  # bytes: TensorFlow copies an array that begins at another address, with Python's lock held


class FrameFiles:
    """Frames (rows, columns) of one shape and type: so many from a byte of each file.

    `pieces` are path, first byte and number of frames. Raises UserError if a file is missing or too short.
    """

    def __init__(self, pieces: Sequence[tuple[Path, int, int]], shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self._pieces, self._shape, self._dtype = pieces, shape, dtype
        self._frame_bytes = int(np.prod(shape)) * dtype.itemsize
        self._states = [file_state(path) for path, *_ in pieces]
        self._files: dict[int, io.FileIO] = {}  # by the number of the piece, the oldest first
        self._lock = threading.Lock()  # a minibatch may be read ahead while its file is closed
        for (path, first, count), state in zip(pieces, self._states, strict=True):
            needed = first + count * self._frame_bytes
            if not state:
                raise _unreadable(path, "No such file or directory")
            if count and state[1] < needed:
                raise _cut_short(path, state[1], needed)

    def read(self, pieces: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the frames (N, rows, columns) at `rows` (N,) of the files with the numbers `pieces` (N,).

        Raises UserError if a file has become shorter, or has changed before it was opened.
        """
        length = self._frame_bytes
        images = _aligned((len(rows), *self._shape), self._dtype)
        memory = bytes_of(images)
        with self._lock:
            for number, (piece, row) in enumerate(zip(pieces.tolist(), rows.tolist(), strict=True)):
                path, first, _ = self._pieces[piece]
                first += row * length
                try:
                    size = read_into(memory[number * length : (number + 1) * length], self._file(piece).fileno(), first)
                except OSError as error:
                    raise _unreadable(path, error.strerror or str(error)) from None
                if size < length:
                    raise _cut_short(path, first + size, first + length)
        return images

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            while self._files:
                self._files.popitem()[1].close()

    def _file(self, number: int) -> io.FileIO:
        """Return a file, which is opened now unless it is open. Raises OSError if it cannot be, UserError if it has changed."""
        if number not in self._files:
            if len(self._files) >= MOST_OPEN:
                self._files.pop(next(iter(self._files))).close()
            path = self._pieces[number][0]
            file = io.FileIO(path)
            try:
                # Frames are compared with their checksums at the first look alone.
                require_unchanged(path, self._states[number])
            except UserError:
                file.close()
                raise
            self._files[number] = file
        return self._files[number]


def _aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array whose numbers are not set, at a multiple of ALIGNMENT."""
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + size].view(dtype).reshape(shape)


def _cut_short(path: Path, found: int, needed: int) -> UserError:
    return UserError(f"{path}: cut short (found {found} bytes, expected at least {needed}). Fix: {cure(path)}")


def _unreadable(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path}: cannot be read (found {reason!r}, expected prepared frames). Fix: run `dvc repro prepare`"
    )
