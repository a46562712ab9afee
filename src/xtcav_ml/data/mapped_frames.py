"""Frames that lie in one piece in each of several files, read through memory maps: straight from the system's cache."""

import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.system.errors import UserError

MAPPED = 256 * 2**20  # bytes read after which pages are unmapped; they stay in the system's cache


class MappedFrames:
    """Frames (rows, columns) of one shape and type: so many from a byte of each file.

    `pieces` are path, first byte and number of frames. Raises UserError if a file is missing or too short.
    """

    def __init__(self, pieces: Sequence[tuple[Path, int, int]], shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self._shape, self._dtype, self._read = shape, dtype, 0
        self._maps: list[mmap.mmap] = []
        self._frames: list[NDArray[Any]] = []
        try:
            for path, offset, count in pieces:
                self._map(path, offset, (count, *shape))
        except BaseException:
            self.close()
            raise

    def read(self, pieces: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the frames (N, rows, columns) at `rows` (N,) of the files with the numbers `pieces` (N,)."""
        if len(self._frames) == 1:
            images: NDArray[Any] = self._frames[0][rows]
        else:
            images = np.empty((len(rows), *self._shape), self._dtype)
            for i, (piece, row) in enumerate(zip(pieces.tolist(), rows.tolist(), strict=True)):
                images[i] = self._frames[piece][row]
        self._read += images.nbytes
        if self._read > MAPPED:
            for mapping in self._maps:
                mapping.madvise(mmap.MADV_DONTNEED)
            self._read = 0
        return images

    def close(self) -> None:
        """Unmap the files."""
        self._frames.clear()
        for mapping in self._maps:
            mapping.close()
        self._maps.clear()

    def _map(self, path: Path, offset: int, shape: tuple[int, ...]) -> None:
        size = int(np.prod(shape)) * self._dtype.itemsize
        if not size:
            self._frames.append(np.empty(shape, self._dtype))
            return
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise UserError(
                f"{path}: cannot be read (found {error.strerror!r}, expected prepared frames). Fix: run `dvc repro prepare`"
            ) from None
        try:
            if (found := os.fstat(descriptor).st_size) < offset + size:
                raise UserError(
                    f"{path}: cut short (found {found} bytes, expected at least {offset + size}). Fix: remove the file, then "
                    "run `dvc repro prepare`"
                )
            self._maps.append(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ))
        finally:
            os.close(descriptor)
        self._frames.append(np.ndarray(shape, self._dtype, self._maps[-1], offset))
