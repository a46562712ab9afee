"""Raw shot files: their problems, columns and frames. Nothing here writes."""

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.schema import IMAGE, Dataset
from xtcav_ml.data.hdf5 import UNREADABLE, file_state, reading, refusing_unreadable, require_unchanged
from xtcav_ml.system.errors import UserError

CHUNK_CACHE = 64 * 2**20  # bytes of unpacked chunks that HDF5 keeps while frames are read: 81 full frames
MAX_ROWS = 1_000_000  # rows that a file may declare: a kilobyte of HDF5 can declare more than any memory holds
MAX_CHUNK = 2**30  # bytes that a chunk may unpack to: four megabytes of HDF5 can hold one of four gigabytes

DTYPE_KINDS = {"i": ("iu", "integers"), "f": ("f", "floating point"), "number": ("iuf", "numbers")}
"""Kind of a Dataset -> the kinds of numpy that fit, and their name in a message."""

_FIX = "rewrite the file, or remove it from the folder"


def file_problems(path: Path, required: Mapping[str, Dataset], optional: Mapping[str, Dataset]) -> list[str]:
    """Return a line for each problem of a raw file; empty if there is none.

    Every `required` dataset must exist; those and the `optional` ones that exist must have the stated kind and row
    shape, hold their data in this file, and have the same number of rows. Reads metadata only.
    """
    try:
        with reading(path) as file:
            problems = [
                f"{path}: {name}: missing (expected a dataset of rows {expected.row_shape}). Fix: {_FIX}"
                for name, expected in required.items()
                if _link(file, name) is None
            ]
            rows: dict[str, int] = {}
            for name, expected in {**optional, **required}.items():
                if _link(file, name) is not None:
                    if problem := _problem(path, file, name, expected):
                        problems.append(problem)
                    else:
                        rows[name] = file[name].shape[0]
    except UserError as error:
        return [str(error)]
    if len(set(rows.values())) > 1:
        usual = max(set(rows.values()), key=list(rows.values()).count)
        odd = ", ".join(f"{count} in {name}" for name, count in rows.items() if count != usual)
        problems.append(f"{path}: datasets differ in their number of rows (found {odd}, expected {usual}). Fix: {_FIX}")
    return problems


def _problem(path: Path, file: h5py.File, name: str, expected: Dataset) -> str | None:
    try:
        with refusing_unreadable(path, name):
            rule = _misshapen(file, name, expected) or _unstored(file[name])
    except UserError as error:
        return str(error)
    return f"{path}: {name}: {rule}. Fix: {_FIX}" if rule else None


def _link(file: h5py.File, name: str) -> object:
    """Return the first link on the way to `name` that is no hard link, the last one if all are, or None if it ends."""
    link: object = None
    for path in itertools.accumulate(name.strip("/").split("/"), "{}/{}".format):
        link = file.get(path, getlink=True)
        if not isinstance(link, h5py.HardLink):
            break
    return link


def _misshapen(file: h5py.File, name: str, expected: Dataset) -> str | None:
    """Return how a dataset breaks a rule on its place, shape or kind, or None."""
    if not isinstance(_link(file, name), h5py.HardLink):
        return "not stored in the file itself (found a link, expected a dataset)"
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        return f"not a dataset (found a {'group' if isinstance(dataset, h5py.Group) else 'named type'}, expected a dataset)"
    if dataset.is_virtual or dataset.external:
        return "not stored in the file itself (found a reference to another, expected rows)"
    if dataset.shape is None or dataset.ndim != 1 + len(expected.row_shape) or dataset.shape[1:] != expected.row_shape:
        shape = ", ".join(["shots", *map(str, expected.row_shape)])
        return f"wrong shape (found {dataset.shape}, expected ({shape}))"
    if dataset.shape[0] > MAX_ROWS:
        return f"too many rows (found {dataset.shape[0]:,}, expected at most {MAX_ROWS:,})"
    column = expected.kind == "f" and not expected.row_shape  # whole numbers may be written as integers
    kinds, wanted = DTYPE_KINDS.get("number" if column else expected.kind, ("", expected.kind))
    if not (dataset.dtype.kind in kinds if kinds else dataset.dtype == expected.kind):
        return f"wrong type (found {dataset.dtype}, expected {wanted})"
    return None


def _unstored(dataset: h5py.Dataset) -> str | None:
    """Return how a dataset breaks a rule on the storage of its rows, or None."""
    properties = dataset.id.get_create_plist()
    for number in range(properties.get_nfilters()):
        code, _, _, name = properties.get_filter(number)
        if not h5py.h5z.filter_avail(code):
            unpacked = f"{name.decode(errors='replace') or 'filter'} ({code})"
            return f"packed with a filter that is not installed (found {unpacked}, expected gzip, lzf or none)"
    if dataset.chunks:
        size = math.prod(dataset.chunks) * dataset.dtype.itemsize
        if size > MAX_CHUNK:
            return f"chunks are too large (found {size:,} bytes, expected at most {MAX_CHUNK:,})"
    unwritten = _unwritten(dataset)
    return f"not wholly written (found {unwritten}, expected all)" if unwritten else None


def _unwritten(dataset: h5py.Dataset) -> str | None:
    """Return how much of a dataset was written if that is not all of it, or None.

    HDF5 reads zeros where nothing was written, which is meant only if the writer set a fill value.
    """
    pieces, written = 1, int(dataset.id.get_storage_size() > 0)
    if dataset.chunks:
        pieces = math.prod(-(-rows // chunk) for rows, chunk in zip(dataset.shape, dataset.chunks, strict=True))
        written = dataset.id.get_num_chunks()
    meant = dataset.id.get_create_plist().fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED
    if not dataset.size or written >= pieces or meant:
        return None
    return f"{written} of {pieces} pieces"


def read_columns(path: Path, names: Sequence[str], optional: Sequence[str] = ()) -> dict[str, NDArray[np.generic]]:
    """Return whole datasets of a raw file, for those with one value a shot; of `optional` ones those that exist.

    Raises UserError if they cannot be read.
    """
    with reading(path) as file:
        columns: dict[str, NDArray[np.generic]] = {}
        for name in (*names, *(name for name in optional if name in file)):
            with refusing_unreadable(path, name):
                values = columns[name] = _dataset(file, name)[:]
                if values.dtype == np.uint64 and (values > np.iinfo(np.int64).max).any():
                    raise OSError("an integer of more than 63 bits")
        return columns


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Return a dataset to read. Raises OSError if it is missing by now, or was not wholly written."""
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise OSError("there is no such dataset")
    if unwritten := _unwritten(dataset):
        raise OSError(unwritten)
    return dataset


def difference(one: Path, other: Path, rows: Sequence[tuple[int, int]]) -> tuple[str, int] | None:
    """Return the first dataset of both files whose values differ in a pair of rows, and the number of that pair.

    None if all are the same; NaN is the same as NaN. Raises UserError if a file cannot be read.
    """
    with reading(one, CHUNK_CACHE) as first, reading(other, CHUNK_CACHE) as second:
        for name in (name for name in first if _has_rows(first, name) and _has_rows(second, name)):
            with refusing_unreadable(one, name):
                for number, (row, other_row) in enumerate(rows):
                    if not _same(np.asarray(first[name][row]), np.asarray(second[name][other_row])):
                        return name, number
    return None


def _has_rows(file: h5py.File, name: str) -> bool:
    """Return whether `name` is a dataset with a row a shot that lies in the file itself."""
    try:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
            return False
        dataset, shots = file[name], len(file[IMAGE])
        own = not dataset.is_virtual and not dataset.external
        return bool(own and dataset.ndim and len(dataset) == shots and dataset.dtype is not None)
    except UNREADABLE:  # of a kind that numpy lacks, or damaged: nothing that the project reads
        return False


def _same(one: NDArray[np.generic], other: NDArray[np.generic]) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f" and other.dtype.kind == "f")


class RawFrames(AbstractContextManager["RawFrames"]):
    """The camera frames of one raw file, open to read from any thread.

    Frames in one piece, as the experiment's, are read past HDF5, which lets only one thread read at a time. Others are
    read by HDF5, a frame a call: a list of rows takes it 25 times as long, point by point. Its cache holds chunks of
    several compressed frames, which would else be unpacked again for each frame. Raises UserError if they cannot be
    read or the file changes; with `expected` (a `state` of it), also if it has changed since then.
    """

    def __init__(self, path: Path, expected: tuple[int, ...] | None = None) -> None:
        self.path, self._state = path, file_state(path) if expected is None else expected
        require_unchanged(path, self._state)  # before it is opened: its successor may be anything
        self._offset: int | None = None
        with refusing_unreadable(path):
            self._file = h5py.File(path, "r", locking=False, rdcc_nbytes=CHUNK_CACHE)
            with refusing_unreadable(path, IMAGE):
                self._frames = _dataset(self._file, IMAGE)
            self.shape: tuple[int, ...] = self._frames.shape
            self._descriptor = os.open(path, os.O_RDONLY)
            if self._frames.id.get_type() == h5py.h5t.NATIVE_INT16:  # numpy calls 12 bits in 16 int16 as well
                self._offset = self._frames.id.get_offset()  # None unless they are in one piece

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.int16]:
        """Return the frames (len(rows), rows, columns), ADU, at any rows."""
        frames = np.empty((len(rows), *self.shape[1:]), dtype=np.int16)
        with refusing_unreadable(self.path, IMAGE):
            for i, row in enumerate(rows):
                if not 0 <= row < self.shape[0]:
                    raise OSError(f"there is no row {row} of {self.shape[0]}")
                if self._offset is None:
                    self._frames.read_direct(frames, np.s_[int(row)], np.s_[i])
                else:
                    self._read_piece(frames[i], self._offset + int(row) * frames[i].nbytes)
        require_unchanged(self.path, self._state)
        return frames

    def _read_piece(self, frame: NDArray[np.int16], offset: int) -> None:
        rest = memoryview(frame.view(np.uint8).reshape(-1).data)
        while len(rest):
            size = os.preadv(self._descriptor, [rest], offset)
            if not size:
                raise OSError("the file ends before its frames do")
            rest, offset = rest[size:], offset + size

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        os.close(self._descriptor)

    def __exit__(self, *_: object) -> None:
        self.close()


def read_frames(path: Path, rows: NDArray[np.int64]) -> NDArray[np.int16]:
    """Return the camera frames (len(rows), rows, columns) of a raw file at any rows. Raises as RawFrames."""
    with RawFrames(path) as frames:
        return frames.read(rows)
