"""Frames that lie in one piece in each of several files, read through memory maps: straight from the system's cache."""

import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.data.hdf5 import file_state, require_unchanged
from xtcav_ml.data.shards import cure
from xtcav_ml.system.errors import UserError

MAPPED = 256 * 2**20  # bytes read after which pages are unmapped; they stay in the system's cache
MOST_FILES = 256  # mapped at a time: each holds a file descriptor, of which a process often may have 1024


class MappedFrames:
    """Frames (rows, columns) of one shape and type: so many from a byte of each file.

    `pieces` are path, first byte and number of frames. Raises UserError if a file is missing or too short.
    """

    def __init__(self, pieces: Sequence[tuple[Path, int, int]], shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self._pieces, self._shape, self._dtype, self._read = pieces, shape, dtype, 0
        self._states = [file_state(path) for path, *_ in pieces]
        # By the number of the file, the oldest first. What is no longer in here is unmapped with the last array that needs it:
        # `mmap.close` would not wait for that.
        self._maps: dict[int, tuple[mmap.mmap, NDArray[Any]]] = {}
        for number in range(len(pieces)):
            self._frames(number)

    def read(self, pieces: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the frames (N, rows, columns) at `rows` (N,) of the files with the numbers `pieces` (N,).

        Raises UserError if one of more than MOST_FILES files has changed since the first look.
        """
        if len(self._pieces) == 1:
            images: NDArray[Any] = self._frames(0)[rows]
        else:
            images = np.empty((len(rows), *self._shape), self._dtype)
            for i, (piece, row) in enumerate(zip(pieces.tolist(), rows.tolist(), strict=True)):
                images[i] = self._frames(piece)[row]
        self._read += images.nbytes
        if self._read > MAPPED:
            for mapping, _ in self._maps.values():
                mapping.madvise(mmap.MADV_DONTNEED)
            self._read = 0
        return images

    def close(self) -> None:
        """Unmap the files."""
        self._maps.clear()

    def _frames(self, number: int) -> NDArray[Any]:
        """Return all frames of a file, which is mapped now unless it is."""
        if number in self._maps:
            return self._maps[number][1]
        path, offset, count = self._pieces[number]
        if not count:
            return np.empty((0, *self._shape), self._dtype)
        if len(self._maps) >= MOST_FILES:
            del self._maps[next(iter(self._maps))]
        mapping = _mapped(path, offset + count * int(np.prod(self._shape)) * self._dtype.itemsize)
        # Frames are compared with their checksums at the first look alone.
        require_unchanged(path, self._states[number])
        frames = np.ndarray((count, *self._shape), self._dtype, mapping, offset)
        self._maps[number] = mapping, frames
        return frames


def _mapped(path: Path, size: int) -> mmap.mmap:
    """Return the map of a file. Raises UserError if it is missing, or has fewer bytes than `size`."""
    try:
        with path.open("rb") as file:
            if (found := os.fstat(file.fileno()).st_size) < size:
                raise UserError(f"{path}: cut short (found {found} bytes, expected at least {size}). Fix: {cure(path)}")
            return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read (found {error.strerror!r}, expected prepared frames). Fix: run `dvc repro prepare`"
        ) from None
