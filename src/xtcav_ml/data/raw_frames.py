"""The camera frames of one raw file, read past HDF5 where they lie in one piece, and chunk by chunk where they do not."""

import contextlib
import math
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.schema import IMAGE
from xtcav_ml.data import raw_dataset
from xtcav_ml.data.hdf5 import file_state, refusing_unreadable, require_unchanged
from xtcav_ml.data.raw_dataset import ALONE, Folder, Misfit
from xtcav_ml.data.raw_file import RawFile

CHUNK_CACHE = 64 * 2**20  # least bytes of unpacked chunks that HDF5 keeps: 81 full frames
WINDOW = 128  # frames, one after the other, that threads read at a time

INT16, INT32 = np.iinfo(np.int16), np.iinfo(np.int32)


def chunk_cache(dataset: h5py.Dataset) -> tuple[int, int]:
    """Return slots and bytes of a cache for the chunks of WINDOW frames: with less, each frame would unpack them anew."""
    if dataset.chunks is None:
        return 521, CHUNK_CACHE
    layers = min(-(-WINDOW // dataset.chunks[0]) + 1, -(-dataset.shape[0] // dataset.chunks[0]))
    tiles = raw_dataset.tiles(dataset)
    size = layers * tiles * math.prod(dataset.chunks) * dataset.dtype.itemsize
    return 10 * layers * tiles + 521, min(max(size, CHUNK_CACHE), raw_dataset.MAX_CHUNK)


def lossless(frame: NDArray[Any]) -> NDArray[Any]:
    """Return a frame as int16, else as int32, where these hold each value, else as float32, for calibrated pixels.

    Raises OSError if a pixel is not a finite number, or an integer beyond int32.
    """
    if np.can_cast(frame.dtype, np.int16):
        return frame.astype(np.int16, copy=False)
    if not frame.size:
        return frame.astype(np.int16)
    low, high = frame.min(), frame.max()  # NaN if a pixel is
    if not (np.isfinite(low) and np.isfinite(high)):
        raise OSError(f"a pixel of {low if np.isfinite(high) else high}")
    if frame.dtype.kind == "f" and not np.array_equal(np.rint(frame), frame):
        return frame.astype(np.float32)
    if INT16.min <= low and high <= INT16.max:
        return frame.astype(np.int16)
    if INT32.min <= low and high <= INT32.max:
        return frame.astype(np.int32)
    raise OSError(f"a pixel of {high if high > INT32.max else low}, beyond 32 bits")


class RawFrames(AbstractContextManager["RawFrames"]):
    """The camera frames of one raw file, open to read from any thread.

    Frames of int16 in one piece, as the experiment's, are read past HDF5, which lets only one thread read at a time. Others are
    read by HDF5, a frame a call: a list of rows takes it 25 times as long, point by point. Its cache holds the chunks around a
    frame, which would else be unpacked again for each frame in them. Raises UserError if they cannot be read or the file
    changes; with `expected` (a `file_state` of it), also if it has changed since then.
    """

    def __init__(self, path: Path, expected: tuple[int, ...] | None = None, folder: Folder = ALONE) -> None:
        self.path, self._state = path, file_state(path) if expected is None else expected
        require_unchanged(path, self._state)  # before it is opened: its successor may be anything
        with refusing_unreadable(path):
            self._file = h5py.File(path, "r", locking=False)
        with contextlib.ExitStack() as stack:
            stack.callback(self._file.close)
            raw = RawFile(self._file, path, folder)
            self._folder = raw.folder
            with raw.naming(IMAGE):
                raw.dataset(IMAGE, chunk_cache(raw.dataset(IMAGE)))
                self._frames = raw.stored(IMAGE)
                self.shape, self._offset = _frames_shape(self._frames), self._offset_in(self._frames)
            self._descriptor = os.open(path, os.O_RDONLY)
            stack.pop_all()

    def _offset_in(self, frames: h5py.Dataset) -> int | None:
        """Return where frames of int16 in one piece begin in the file; None for others, which HDF5 must read."""
        own = not frames.is_virtual and not frames.external and frames.file == self._file
        if not own or frames.id.get_type() != h5py.h5t.NATIVE_INT16:  # numpy calls 12 bits in 16 int16 as well
            return None
        offset: int | None = frames.id.get_offset()  # None unless they are in one piece
        return offset

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the frames (len(rows), rows, columns), ADU, at any rows: int16, or what holds all of them without loss."""
        with refusing_unreadable(self.path, IMAGE):
            frames = [self._frame(int(row)) for row in rows]
        require_unchanged(self.path, self._state)
        self._folder.require_unchanged()
        if len(frames) == 1:
            return frames[0][np.newaxis]
        kinds = {frame.dtype for frame in frames}
        kind = np.float32 if np.dtype(np.float32) in kinds else np.result_type(np.int16, *kinds)
        return np.stack(frames).astype(kind, copy=False) if frames else np.empty((0, *self.shape[1:]), np.int16)

    def _frame(self, row: int) -> NDArray[Any]:
        if not 0 <= row < self.shape[0]:
            raise OSError(f"there is no row {row} of {self.shape[0]}")
        if self._offset is not None:
            return self._piece(self._offset + row * 2 * math.prod(self.shape[1:]))
        values = self._frames[row] if self._frames.ndim > 2 else self._frames[()]
        return lossless(values.reshape(self.shape[1:]))

    def _piece(self, offset: int) -> NDArray[np.int16]:
        frame = np.empty(self.shape[1:], np.int16)
        rest = memoryview(frame.view(np.uint8).reshape(-1).data)
        while len(rest):
            size = os.preadv(self._descriptor, [rest], offset)
            if not size:
                raise OSError("the file ends before its frames do")
            rest, offset = rest[size:], offset + size
        return frame

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        os.close(self._descriptor)

    def __exit__(self, *_: object) -> None:
        self.close()


def _frames_shape(dataset: h5py.Dataset) -> tuple[int, int, int]:
    """Return frames, rows and columns; axes of length 1 beside these do not count. Raises Misfit for another shape."""
    axes: list[int] = list(dataset.shape or ())
    sides = axes[-2:] if len(axes) in (2, 3) else [length for length in axes[1:] if length != 1]
    if len(sides) != 2:
        raise Misfit("wrong shape", dataset.shape, "(shots, rows, columns)", "correct data.layout")
    return axes[0] if len(axes) > 2 else 1, sides[0], sides[1]


def count_frames(path: Path, folder: Folder = ALONE) -> int:
    """Return the number of camera frames in a raw file. Raises as RawFrames."""
    with RawFrames(path, folder=folder) as frames:
        return frames.shape[0]


def read_frames(path: Path, rows: NDArray[np.int64], folder: Folder = ALONE) -> NDArray[Any]:
    """Return the camera frames (len(rows), rows, columns) of a raw file at any rows. Raises as RawFrames."""
    with RawFrames(path, folder=folder) as frames:
        return frames.read(rows)
