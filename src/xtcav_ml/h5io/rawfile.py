"""Raw shot files: what may be wrong with one, and its columns and frames. Nothing here writes."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import h5py
import numpy as np
from numpy.typing import NDArray

from xtcav_ml.h5io.files import reading, require_unchanged, state, told
from xtcav_ml.shots import IMAGE, Dataset

CHUNK_CACHE = 64 * 2**20
"""Bytes of unpacked chunks that HDF5 keeps while frames are read: 77 full frames."""

MAX_ROWS = 1_000_000
"""Rows that a file may declare: a kilobyte of HDF5 can declare more than any memory holds."""

KINDS = {"i": ("iu", "integers"), "f": ("f", "floating point"), "number": ("iuf", "numbers")}
"""Kind of a Dataset -> numpy's kinds that fit, and how to say so."""

_FIX = "write the file anew or remove it from the folder"


def file_problems(path: Path, required: Mapping[str, Dataset], known: Mapping[str, Dataset]) -> list[str]:
    """Return what is wrong with a raw file, one line each; empty if nothing is.

    Every `required` dataset must be there; those and all others that are `known` must have the stated kind and row
    shape, hold their data in this file, and have the same number of rows. Reads metadata only.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            found = [f"{path}: dataset {name!r} is missing; {_FIX}" for name in required if not _held(file, name)]
            rows: dict[str, int] = {}
            for name, expected in {**known, **required}.items():
                if _held(file, name):
                    wrong = _wrong(file, name, expected)
                    found += [f"{path}: {name}: {wrong}"] if wrong else []
                    if not wrong:
                        rows[name] = file[name].shape[0]
            if len(set(rows.values())) > 1:
                usual = max(set(rows.values()), key=list(rows.values()).count)
                odd = ", ".join(f"{name} has {count}" for name, count in rows.items() if count != usual)
                found.append(f"{path}: every dataset must have the same number of rows, got {usual} but {odd}; {_FIX}")
            return found
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        # what HDF5 and h5py raise on bytes that are no HDF5, or that declare what they cannot read
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return [f"{path}: must be a readable HDF5 file, got {reason!r}; copy it anew or remove it"]


def _held(file: h5py.File, name: str) -> bool:
    """Return whether there is a link of that name, wherever it leads."""
    return file.get(name, getlink=True) is not None


def _wrong(file: h5py.File, name: str, expected: Dataset) -> str | None:
    """Return the rule that a dataset breaks, with value and cure, or None."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return f"must be stored in the file itself, got a link; {_FIX}"
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        return f"must be a dataset, got a {'group' if isinstance(dataset, h5py.Group) else 'named type'}; {_FIX}"
    if dataset.is_virtual or dataset.external:
        return f"must be stored in the file itself, got a reference to another file; {_FIX}"
    if dataset.shape is None or dataset.ndim != 1 + len(expected.row_shape) or dataset.shape[1:] != expected.row_shape:
        return f"must have shape (shots, {', '.join(map(str, expected.row_shape))}), got {dataset.shape}; {_FIX}"
    if dataset.shape[0] > MAX_ROWS:
        return f"must have at most {MAX_ROWS:,} rows, got {dataset.shape[0]:,}; {_FIX}"
    kinds, wanted = KINDS.get(expected.kind, ("", expected.kind))
    if not (dataset.dtype.kind in kinds if kinds else dataset.dtype == expected.kind):
        return f"must have dtype {wanted}, got {dataset.dtype}; {_FIX}"
    unpacked = _unknown_filter(dataset)
    if unpacked:
        return f"must be packed with a filter that is installed, got {unpacked}; {_FIX}"
    return None


def _unknown_filter(dataset: h5py.Dataset) -> str | None:
    """Return the name of a filter that HDF5 would need and has not, or None."""
    properties = dataset.id.get_create_plist()
    for number in range(properties.get_nfilters()):
        code, _, _, name = properties.get_filter(number)
        if not h5py.h5z.filter_avail(code):
            return f"{name.decode(errors='replace') or 'filter'} ({code})"
    return None


def read_columns(path: Path, names: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    """Return whole datasets of a raw file, for those with one value a shot. Raises UserError if they cannot be read."""
    with reading(path) as file:
        columns: dict[str, NDArray[np.generic]] = {}
        for name in names:
            with told(path, name):
                columns[name] = file[name][:]
        return columns


def difference(one: Path, other: Path, rows: Sequence[tuple[int, int]]) -> tuple[str, int] | None:
    """Return the first dataset that both files hold and whose values differ in a pair of rows, with that pair's place.

    None if all are the same; NaN is the same as NaN. Raises UserError if a file cannot be read.
    """
    with reading(one, CHUNK_CACHE) as first, reading(other, CHUNK_CACHE) as second:
        for name in (name for name in first if _own_rows(first, name) and name in second and _own_rows(second, name)):
            with told(one, name):
                for place, (row, other_row) in enumerate(rows):
                    if not _same(np.asarray(first[name][row]), np.asarray(second[name][other_row])):
                        return name, place
    return None


def _own_rows(file: h5py.File, name: str) -> bool:
    """Return whether `name` is a dataset with rows that lies in the file itself."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
        return False
    return bool(file[name].ndim and not file[name].is_virtual and not file[name].external)


def _same(one: NDArray[np.generic], other: NDArray[np.generic]) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f" and other.dtype.kind == "f")


class RawFrames:
    """The camera frames of one raw file, open to read from any thread.

    Frames in one piece, as the experiment's, are read past HDF5, which would let only one thread read at a time; the
    others by HDF5, a frame at a time: it takes a list of rows apart point by point, 25 times slower. Its cache holds chunks of
    several compressed frames, which would else be unpacked anew for each of theirs. Raises UserError if they cannot be read
    or the file changes.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._state = path, state(path)
        self._offset: int | None = None
        with told(path):
            self._file = h5py.File(path, "r", locking=False, rdcc_nbytes=CHUNK_CACHE)
            self._frames: h5py.Dataset = self._file[IMAGE]
            self.shape: tuple[int, ...] = self._frames.shape
            self._descriptor = os.open(path, os.O_RDONLY)
            if self._frames.dtype == np.dtype("=i2"):
                self._offset = self._frames.id.get_offset()  # None unless they are in one piece

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.int16]:
        """Return the frames (len(rows), rows, columns), ADU, at any rows."""
        frames = np.empty((len(rows), *self.shape[1:]), dtype=np.int16)
        with told(self.path, IMAGE):
            for i, row in enumerate(rows):
                if self._offset is None:
                    self._frames.read_direct(frames, np.s_[int(row)], np.s_[i])
                else:
                    self._read_piece(frames[i], self._offset + int(row) * frames[i].nbytes)
        require_unchanged(self.path, self._state)
        return frames

    def _read_piece(self, frame: NDArray[np.int16], offset: int) -> None:
        rest = memoryview(frame.view(np.uint8).reshape(-1).data)
        while len(rest):
            got = os.preadv(self._descriptor, [rest], offset)
            if not got:
                raise OSError("the file ends before its frames do")
            rest, offset = rest[got:], offset + got

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_frames(path: Path, rows: NDArray[np.int64]) -> NDArray[np.int16]:
    """Return the camera frames (len(rows), rows, columns) of a raw file at any rows. Raises as RawFrames."""
    with RawFrames(path) as frames:
        return frames.read(rows)
