"""Raw shot files: what may be wrong with one, and its columns and frames. Nothing here writes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from xtcav_ml.h5io.files import reading
from xtcav_ml.shots import IMAGE, Dataset


def file_problems(path: Path, required: Mapping[str, Dataset], known: Mapping[str, Dataset]) -> list[str]:
    """Return what is wrong with a raw file, one line each; empty if nothing is.

    Every `required` dataset must be there; those and all others that are `known` must have the stated kind and row
    shape, hold their data in this file, and have the same number of rows. Reads metadata only.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            found = [f"{path}: dataset {name!r} is missing; {_FIX}" for name in required if name not in file]
            rows: dict[str, int] = {}
            for name, expected in {**known, **required}.items():
                if name in file:
                    wrong = _wrong(file, name, expected)
                    found += [f"{path}: {name}: {wrong}"] if wrong else []
                    if not wrong:
                        rows[name] = file[name].shape[0]
            if len(set(rows.values())) > 1:
                usual = max(set(rows.values()), key=list(rows.values()).count)
                odd = ", ".join(f"{name} has {count}" for name, count in rows.items() if count != usual)
                found.append(f"{path}: every dataset must have the same number of rows, got {usual} but {odd}; {_FIX}")
            return found
    except (OSError, RuntimeError, KeyError) as error:
        return [f"{path}: must be a readable HDF5 file, got {str(error).splitlines()[0]!r}; copy it anew or remove it"]


CHUNK_CACHE = 64 * 2**20
"""Bytes of unpacked chunks that HDF5 keeps while frames are read: 77 full frames."""

MAX_ROWS = 1_000_000
"""Rows that a file may declare: a kilobyte of HDF5 can declare more than any memory holds."""

_FIX = "write the file anew or remove it from the folder"


def _wrong(file: h5py.File, name: str, expected: Dataset) -> str | None:
    """Return the rule that a dataset breaks, with value and cure, or None."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return f"must be stored in the file itself, got a link; {_FIX}"
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        return f"must be a dataset, got a group; {_FIX}"
    if dataset.is_virtual or dataset.external:
        return f"must be stored in the file itself, got a reference to another file; {_FIX}"
    if dataset.ndim != 1 + len(expected.row_shape) or dataset.shape[1:] != expected.row_shape:
        return f"must have shape (shots, {', '.join(map(str, expected.row_shape))}), got {dataset.shape}; {_FIX}"
    if dataset.shape[0] > MAX_ROWS:
        return f"must have at most {MAX_ROWS:,} rows, got {dataset.shape[0]:,}; {_FIX}"
    kinds = {"i": "iu", "f": "f"}
    fits = dataset.dtype.kind in kinds[expected.kind] if expected.kind in kinds else dataset.dtype == expected.kind
    if not fits:
        wanted = {"i": "integers", "f": "floating point"}.get(expected.kind, expected.kind)
        return f"must have dtype {wanted}, got {dataset.dtype}; {_FIX}"
    return None


def read_columns(path: Path, names: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    """Return whole datasets of a raw file, for those with one value a shot. Raises UserError if they cannot be read."""
    with reading(path) as file:
        return {name: file[name][:] for name in names}


def read_frames(path: Path, rows: NDArray[np.int64]) -> NDArray[np.int16]:
    """Return the camera frames (len(rows), rows, columns) of a raw file at rising row numbers.

    One read a row: HDF5 takes a list of rows apart point by point, 25 times slower. The cache holds chunks of several
    compressed frames, which would else be unpacked anew for each of theirs.
    """
    with reading(path, cache_bytes=CHUNK_CACHE) as file:
        dataset = file[IMAGE]
        frames = np.empty((len(rows), *dataset.shape[1:]), dtype=dataset.dtype)
        for i, row in enumerate(rows):
            dataset.read_direct(frames, np.s_[int(row)], np.s_[i])
        return frames
