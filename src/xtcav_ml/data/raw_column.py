"""The values of a dataset of a raw file as a plain column: a number for each shot, without loss, or a Misfit."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.layout import Source
from xtcav_ml.config.schema import Dataset
from xtcav_ml.data.raw_dataset import Misfit

MAX_ROWS = 1_000_000  # rows that a file may declare: a kilobyte of HDF5 can declare more than any memory holds
NOT_BLANK = np.bool_(False)
INT64_MAX = np.uint64(2**63 - 1)
TAKE_APART = ", or take a time in seconds apart by `half`: `high` for evt.seconds, `low` for evt.nanoseconds"


def rows_of(shape: tuple[int, ...] | None, row_shape: tuple[int, ...]) -> int | None:
    """Return the number of rows of a dataset of `shape`; None for a single value, which stands for all shots.

    Axes of length 1 beside the first do not count, and a file may be one frame. Raises Misfit if a row has another shape.
    """
    if shape == () and not row_shape:
        return None
    if shape is not None and row_shape and shape == row_shape:
        return 1
    lengths, wanted = (tuple(n for n in axes if n != 1) for axes in ((shape or ())[1:], row_shape))
    if not shape or lengths != wanted or math.prod(shape[1:]) != math.prod(row_shape):
        rows = ", ".join(["shots", *map(str, row_shape)])
        fix = (
            "correct data.frame_shape or data.layout"
            if row_shape
            else "name a dataset of one number a shot in data.layout"
        )
        raise Misfit("wrong shape", shape, f"({rows})", f"{fix}, or remove the file")
    if shape[0] > MAX_ROWS:
        raise Misfit("too many rows", f"{shape[0]:,}", f"at most {MAX_ROWS:,}", "split the file")
    return int(shape[0])


def column(
    values: NDArray[Any], source: Source, expected: Dataset, blank: NDArray[np.bool_] | np.bool_ = NOT_BLANK
) -> NDArray[np.int64] | NDArray[np.float64]:
    """Return the values of a dataset (N, ...) as int64 or float64 (N,), without loss.

    What `source.missing` names, NaN in a label, and all that rows hold which are `blank` (N,), becomes -1 in integers and NaN
    in a number. Raises Misfit if values would change.
    """
    if expected.row_shape:
        return values.reshape(-1, *expected.row_shape)
    flat = values.reshape(-1)
    missing = np.zeros(len(flat), bool) | blank
    for number in source.missing:
        missing |= flat == number
    if flat.dtype.kind == "b":
        flat = flat.astype(np.int64)
    if expected.kind == "f":
        if flat.dtype.kind == "f" or missing.any():
            return np.where(missing, np.nan, flat.astype(np.float64))
        return _integers(flat, missing)
    missing |= np.isnan(flat) if flat.dtype.kind == "f" else False
    if expected.kind != "label":
        _refuse(missing & ~blank, flat, "no value", "one for each shot")
    return np.where(missing, -1, _half(flat, missing, source))


def _half(flat: NDArray[Any], missing: NDArray[np.bool_], source: Source) -> NDArray[np.int64]:
    """Return integers as `_integers`; if `source` asks for a half, 32 bits of 64-bit ones, or a part of times in seconds."""
    if source.half is None:
        return _integers(flat, missing)
    if flat.dtype.kind == "f":
        return _part_of_time(flat, missing, source.half)
    if flat.dtype.kind not in "iu" or flat.dtype.itemsize != 8:
        raise Misfit("no halves", flat.dtype, "64-bit integers or floats", "remove `half` from data.layout")
    bits = flat.astype(np.uint64)
    halves = (bits >> np.uint64(32) if source.half == "high" else bits & np.uint64(2**32 - 1)).astype(np.int64)
    halves[missing | (flat < 0)] = -1  # as a fill value is
    return halves


def _part_of_time(flat: NDArray[Any], missing: NDArray[np.bool_], half: str) -> NDArray[np.int64]:
    """Return the whole seconds (half "high") or the nanoseconds of times in seconds, -1 where they are `missing` or negative.

    A float of today's seconds has steps of 238 ns, so that both together are the same float again. Raises Misfit if they are
    not: the steps are finer than a nanosecond.
    """
    whole = np.where(missing | (flat < 0), np.zeros_like(flat), flat)
    _refuse(np.abs(whole) >= 2.0**63, flat, "an integer of more than 63 bits", "int64")
    seconds = np.floor(whole)
    nanoseconds = np.rint((whole - seconds) * 1e9)
    _refuse(seconds + nanoseconds / 1e9 != whole, flat, "a time of finer steps than 1 ns", "seconds")
    part = (seconds if half == "high" else nanoseconds).astype(np.int64)
    return np.where(missing | (flat < 0), -1, part)


def _integers(flat: NDArray[Any], missing: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return whole numbers as int64, 0 where they are `missing`. Raises Misfit if one is not whole, or has more bits."""
    whole = np.where(missing, np.zeros_like(flat), flat)
    if flat.dtype.kind == "f":
        _refuse(whole != np.rint(whole), flat, "not a whole number", "integers", TAKE_APART)
        _refuse(np.abs(whole) >= 2.0**63, flat, "an integer of more than 63 bits", "int64")
    elif flat.dtype.kind == "u":
        _refuse(whole > INT64_MAX, flat, "an integer of more than 63 bits", "int64")
    return np.asarray(whole.astype(np.int64))


def _refuse(bad: NDArray[np.bool_], flat: NDArray[Any], problem: str, expected: str, cure: str = "") -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        found = f"{flat[rows[0]]} in row {rows[0]}, {len(rows):,} such rows"
        raise Misfit(problem, found, expected, f"correct it, or list it as `missing` in data.layout.datasets{cure}")


def number_in_name(path: Path, pattern: str) -> int | None:
    """Return the number that the group of a regular expression matches in a file's name, None if there is none."""
    found = re.search(pattern, path.stem)
    return int(found[1]) if found and found.groups() and (found[1] or "").isdecimal() else None
