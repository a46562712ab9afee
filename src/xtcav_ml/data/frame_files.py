"""Frames that lie in one piece in each of several files, read straight into the array that is asked for."""

import io
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.data.hdf5 import bytes_of, file_state, read_into, require_unchanged
from xtcav_ml.data.shards import cure
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.helpers import Helpers

MOST_OPEN = 256  # files open at a time: a process often may have 1024 file descriptors
TOGETHER = 2**19  # bytes of frames that a thread reads at a time, in some 0.1 ms
READERS = 4  # threads at most: more do not copy faster from the same memory
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
        self._helpers = Helpers(min(READERS, len(os.sched_getaffinity(0))))
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
        images = _aligned((len(rows), *self._shape), self._dtype)
        memory, places = bytes_of(images), list(zip(pieces.tolist(), rows.tolist(), strict=True))
        frames = max(1, TOGETHER // max(self._frame_bytes, 1))  # of a part
        with self._lock:
            for first in range(0, len(places), MOST_OPEN):  # all files of which are open then
                end = min(first + MOST_OPEN, len(places))
                files = {piece: self._file(piece) for piece, _ in places[first:end]}

                def do(part: int, first: int = first, end: int = end, files: Any = files) -> None:
                    begin = first + part * frames
                    for number in range(begin, min(begin + frames, end)):
                        self._read(files, *places[number], memory, number * self._frame_bytes)

                self._helpers.share(do, -(-(end - first) // frames))
        return images

    def _read(self, files: Mapping[int, io.FileIO], piece: int, row: int, memory: memoryview, at: int) -> None:
        """Read a frame into `memory`, from byte `at` on. Raises as `read`."""
        path, first, _ = self._pieces[piece]
        first += row * self._frame_bytes
        try:
            size = read_into(memory[at : at + self._frame_bytes], files[piece].fileno(), first)
        except OSError as error:
            raise _unreadable(path, error.strerror or str(error)) from None
        if size < self._frame_bytes:
            raise _cut_short(path, first + size, first + self._frame_bytes)

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            while self._files:
                self._files.popitem()[1].close()

    def _file(self, number: int) -> io.FileIO:
        """Return a file, which is opened now unless it is open. Raises UserError if it cannot be, or has changed."""
        file = self._files.pop(number, None) or self._open(self._pieces[number][0], self._states[number])
        self._files[number] = file  # the last to be closed
        while len(self._files) > MOST_OPEN:
            self._files.pop(next(iter(self._files))).close()
        return file

    def _open(self, path: Path, state: tuple[int, ...]) -> io.FileIO:
        try:
            file = io.FileIO(path)
        except OSError as error:
            raise _unreadable(path, error.strerror or str(error)) from None
        try:
            require_unchanged(path, state)  # frames are compared with their checksums at the first look alone
        except UserError:
            file.close()
            raise
        return file


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
