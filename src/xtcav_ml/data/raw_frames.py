"""The camera frames of one raw file, read past HDF5 where they lie in one piece, and chunk by chunk where they do not."""

import contextlib
import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.schema import IMAGE, NO_FRAME
from xtcav_ml.data import raw_dataset
from xtcav_ml.data.apart import Apart
from xtcav_ml.data.hdf5 import bytes_of, file_state, read_into, refusing_unreadable, require_unchanged
from xtcav_ml.data.raw_dataset import ALONE, Folder
from xtcav_ml.data.raw_file import Piece, RawFile
from xtcav_ml.system.errors import UserError

CHUNK_CACHE = 64 * 2**20  # least bytes of unpacked chunks that HDF5 keeps: 81 full frames
WINDOW = 128  # frames, one after the other, that threads read at a time

INT16, INT32 = np.iinfo(np.int16), np.iinfo(np.int32)


class PixelError(Exception):
    """A pixel, whose value this names, is not finite, or an integer beyond int32."""


def chunk_cache(dataset: h5py.Dataset) -> tuple[int, int]:
    """Return slots and bytes of a cache for the chunks of WINDOW frames: with less, each would unpack those around it anew."""
    layers = min(-(-WINDOW // dataset.chunks[0]) + 1, -(-dataset.shape[0] // dataset.chunks[0]))
    tiles = raw_dataset.tiles(dataset)
    size = layers * tiles * math.prod(dataset.chunks) * dataset.dtype.itemsize
    return 10 * layers * tiles + 521, min(max(size, CHUNK_CACHE), raw_dataset.MAX_CACHE)


def lossless(frame: NDArray[Any]) -> NDArray[Any]:
    """Return a frame as int16, else as int32, where these hold each value, else as float32, for calibrated pixels.

    Raises PixelError if none holds each value.
    """
    if np.can_cast(frame.dtype, np.int16):
        return frame.astype(np.int16, copy=False)
    if not frame.size:
        return frame.astype(np.int16)
    low, high = frame.min(), frame.max()  # NaN if a pixel is
    if not (np.isfinite(low) and np.isfinite(high)):
        raise PixelError(low if np.isfinite(high) else high)
    if frame.dtype.kind == "f" and max(-low, high) > np.finfo(np.float32).max:
        raise PixelError(high if high > -low else low)
    if frame.dtype.kind == "f" and not np.array_equal(np.rint(frame), frame):
        return frame.astype(np.float32)
    if INT16.min <= low and high <= INT16.max:
        return frame.astype(np.int16)
    if INT32.min <= low and high <= INT32.max:
        return frame.astype(np.int32)
    raise PixelError(high if high > INT32.max else low)


class _Hdf5Frames:
    """The frames of a file that HDF5 reads, in this process or in a fork: it opens the file at the first call.

    A frame a call: a list of rows takes HDF5 25 times as long, point by point. Its cache holds the chunks around a frame, which
    would else be unpacked again for each frame in them.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._raw: RawFile | None = None

    def __call__(self, path: Path, row: int | None = None) -> Any:
        """Return the frame at a row; without one, the Piece, the rows that are `unwritten`, and the parts of the file."""
        raw = self._raw = self._raw or self._opened(path)
        if row is None:
            with raw.naming(IMAGE):
                return raw.piece(), raw_dataset.unwritten(raw.stored(IMAGE)), raw.folder.parts
        frames = raw.dataset(IMAGE)
        values = frames[row] if frames.ndim > 2 else frames[()]
        return lossless(values.reshape(raw_dataset.frames_shape(frames)[1:]))

    def close(self) -> None:
        """Close the file, if it was opened in this process."""
        if self._raw is not None:
            self._raw.file.close()

    def _opened(self, path: Path) -> RawFile:
        with refusing_unreadable(path):
            raw = RawFile(h5py.File(path, "r", locking=False), path, self._folder)
        with raw.naming(IMAGE):
            if raw.dataset(IMAGE).chunks is not None:
                raw.dataset(IMAGE, chunk_cache(raw.dataset(IMAGE)))
        return raw


class RawFrames(AbstractContextManager["RawFrames"]):
    """The camera frames of one raw file, open to read from any thread.

    Frames of int16 in one piece, as the experiment's, are read past HDF5, which lets only one thread read at a time. Others are
    read by HDF5, in a fork where that may crash. Raises UserError if they cannot be read, were never written, or the file
    changes; with `expected` (a `file_state`), also if it has changed since then. `piece` is that of the file, if it was found
    by then.
    """

    def __init__(
        self,
        path: Path,
        expected: tuple[int, ...] | None = None,
        folder: Folder = ALONE,
        piece: Piece | None = None,
    ) -> None:
        self.path, self._state = path, file_state(path) if expected is None else expected
        require_unchanged(path, self._state)  # before it is opened: its successor may be anything
        self._folder = folder.for_file()
        self._unwritten: NDArray[np.bool_] | None = None
        with contextlib.ExitStack() as stack:
            frames = _Hdf5Frames(self._folder)
            if piece is None:
                with Apart(frames, kept=self._folder.states) as find:
                    piece, self._unwritten, self._folder.parts = find(path)
            if piece.offset is None:
                self._hdf5 = stack.enter_context(Apart(frames)) if piece.doubtful else frames
                stack.callback(frames.close)
                _, self._unwritten, self._folder.parts = self._hdf5(path)
            self.shape, self._offset = piece.shape, piece.offset
            with refusing_unreadable(path):
                self._descriptor = os.open(path, os.O_RDONLY)
            stack.callback(os.close, self._descriptor)
            self._closing = stack.pop_all()

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the frames (len(rows), rows, columns), ADU, at any rows: int16, or what holds all of them without loss."""
        frames = []
        for row in rows.tolist():
            try:
                frames.append(self._frame(row))
            except PixelError as error:
                raise UserError(self._line(error, f"row {row}")) from None
        return self._joined(frames)

    def read_usable(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return the frames as `read`, zeros for those that were never written or hold a pixel that is no number, and which.

        The latter are True in (len(rows),).
        """
        frames, lost = [], np.zeros(len(rows), bool)
        for number, row in enumerate(rows.tolist()):
            try:
                lost[number] = self._unwritten is not None and self._unwritten[row]
                frames.append(np.zeros(self.shape[1:], np.int16) if lost[number] else self._frame(row))
            except PixelError:
                lost[number] = True
                frames.append(np.zeros(self.shape[1:], np.int16))
        return self._joined(frames), lost

    def _joined(self, frames: list[NDArray[Any]]) -> NDArray[Any]:
        """Return frames that were read as one array. Raises UserError if the file has changed meanwhile."""
        require_unchanged(self.path, self._state)
        self._folder.require_unchanged()
        if len(frames) == 1:
            return frames[0][np.newaxis]
        kinds = {frame.dtype for frame in frames}
        kind = np.float32 if np.dtype(np.float32) in kinds else np.result_type(np.int16, *kinds)
        return np.stack(frames).astype(kind, copy=False) if frames else np.empty((0, *self.shape[1:]), np.int16)

    def pixel_problem(self, rows: NDArray[np.int64], advance: Callable[[int], None]) -> str | None:
        """Return a line if frames at `rows` hold a pixel that is no number, or one of more than 32 bits; reads all of them."""
        problems: dict[int, PixelError] = {}
        for row in rows.tolist():
            try:
                self._frame(row)
            except PixelError as error:
                problems[row] = error
            advance(1)
        require_unchanged(self.path, self._state)
        first = next(iter(problems), None)
        return None if first is None else self._line(problems[first], f"row {first}, {len(problems):,} such frames")

    def _line(self, error: "PixelError", place: str) -> str:
        return (
            f"{self.path}: {IMAGE}: a pixel is no number that can be kept (found {error} in {place}, expected finite ones of "
            "32 bits). Fix: write numbers there, or leave these shots out by a mask (prepare.include or exclude)"
        )

    def _frame(self, row: int) -> NDArray[Any]:
        """Return the frame at a row. Raises UserError if it cannot be read, PixelError as `lossless`."""
        with refusing_unreadable(self.path, IMAGE):
            return self._found_frame(row)

    def _found_frame(self, row: int) -> NDArray[Any]:
        if not 0 <= row < self.shape[0]:
            raise OSError(f"there is no row {row} of {self.shape[0]}")
        if self._unwritten is not None and self._unwritten[row]:
            raise OSError(f"row {row} was never written")
        if self._offset is not None:
            return self._piece(self._offset + row * 2 * math.prod(self.shape[1:]))
        frame: NDArray[Any] = self._hdf5(self.path, row)
        return frame

    def _piece(self, offset: int) -> NDArray[np.int16]:
        frame = np.empty(self.shape[1:], np.int16)
        if read_into(bytes_of(frame), self._descriptor, offset) < frame.nbytes:
            raise OSError("the file ends before its frames do")
        return frame

    def close(self) -> None:
        """Close the file."""
        self._closing.close()

    def __exit__(self, *_: object) -> None:
        self.close()


class NoFrames(AbstractContextManager["NoFrames"]):
    """In place of the frames of a file that a model without frames reads: of each of its shots one of 0 x 0 pixels."""

    def __init__(self, shots: int) -> None:
        self.shape = (shots, *NO_FRAME)

    def read_usable(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return the frames at `rows`, and that none is lost."""
        return np.empty((len(rows), *NO_FRAME), np.int16), np.zeros(len(rows), bool)

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""


def read_frames(path: Path, rows: NDArray[np.int64], folder: Folder = ALONE) -> NDArray[Any]:
    """Return the camera frames (len(rows), rows, columns) of a raw file at any rows. Raises as RawFrames."""
    with RawFrames(path, folder=folder) as frames:
        return frames.read(rows)
