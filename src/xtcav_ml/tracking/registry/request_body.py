"""A request to a served model, and its answer: JSON in, the arrays that the signature means out, and nothing bent to fit.

MLflow's own server casts to the types of a signature: it cuts fractions, and takes booleans and texts for numbers. Therefore
that of our models has none (`packaging.signature`), and `serving` checks what MLflow has read by the same rules.
"""

import base64
import reprlib
from typing import Any

import numpy as np
import orjson
import pandas as pd
from numpy.typing import NDArray

from xtcav_ml.learning.layer_plan import FRAME_INPUT
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system.http_limits import Refused

FRAMES = 256
"""Frames of one request at most."""

MORE = 1000  # brackets of a request that are none of its frames and rows: those of features and in their names

PIXEL = np.iinfo(np.int16)


def input_names(spec: LearningSpec) -> tuple[str, ...]:
    """Return the names of what a model takes: the frame, if it has one, and its features."""
    return (*((FRAME_INPUT,) if spec.has_frames else ()), *spec.features)


def inputs_of(body: bytes, spec: LearningSpec) -> NDArray[np.int16] | dict[str, NDArray[Any]]:
    """Return what the model's function takes, from {"inputs": ...} with frames, or with these and features by name.

    Raises Refused, status 400, if a frame has not the model's shape, a pixel is no whole number of int16, or a feature is
    neither a number nor null.
    """
    lists = body.count(b"[") + body.count(b"{")
    if lists > FRAMES * (spec.preprocessing.raw_shape[0] + 1) + MORE:
        raise Refused(400, f"body: too many lists (found {lists:,}, expected those of at most {FRAMES} frames)")
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(
            400, f"body: not JSON (found {str(error)[:120]!r}, expected UTF-8 without NaN). Fix: correct it"
        ) from None
    if not isinstance(request, dict) or "inputs" not in request or request.keys() - {"inputs", "params"}:
        raise Refused(
            400,
            f'body: not a request (found {reprlib.repr(request)}, expected {{"inputs": ...}}). Fix: see docs/models.md',
        )
    if request.get("params"):
        raise Refused(400, f"params: none known (found {reprlib.repr(request['params'])}, expected no such key)")
    inputs = request["inputs"]
    if not spec.features:
        return frames_of(inputs, spec.preprocessing.raw_shape)
    names = input_names(spec)
    if not isinstance(inputs, dict) or inputs.keys() != set(names):
        raise Refused(
            400, f"inputs: not by name (found {reprlib.repr(inputs)}, expected an object of {', '.join(names)})"
        )
    first = inputs[names[0]]
    if not spec.has_frames:
        _require_list(names[0], first, range(1, FRAMES + 1), "values, one a shot")
        return {name: feature_of(name, inputs[name], len(first)) for name in names}
    frames = frames_of(first, spec.preprocessing.raw_shape)
    return {FRAME_INPUT: frames, **{name: feature_of(name, inputs[name], len(frames)) for name in spec.features}}


def answer_of(table: pd.DataFrame) -> bytes:
    """Return the body of the answer: an object for each row."""
    return orjson.dumps({"predictions": table.to_dict(orient="records")})


def frames_of(value: Any, shape: tuple[int, int]) -> NDArray[np.int16]:
    """Return frames (N, rows, columns), ADU, each of nested lists or a text as `_of_text`. Raises Refused, status 400."""
    _require_list("inputs", value, range(1, FRAMES + 1), "frames")
    frames = np.empty((len(value), *shape), np.int16)
    for number, frame in enumerate(value):
        name = f"frame {number}"
        frames[number] = _of_text(name, frame, shape) if type(frame) is str else _of_lists(name, frame, shape)
    return frames


def _of_text(name: str, text: str, shape: tuple[int, int]) -> NDArray[np.int16]:
    """Return a frame of its pixels in base64: int16, low byte first, row by row."""
    rows, columns = shape
    size, expected = rows * columns * PIXEL.dtype.itemsize, "its int16 pixels in base64, low byte first, row by row"
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError:
        raise Refused(400, f"{name}: not base64 (found {reprlib.repr(text)}, expected {expected})") from None
    if len(content) != size:
        raise Refused(400, f"{name}: wrong length (found {len(content)} bytes, expected {size}: {expected})")
    return np.frombuffer(content, "<i2").reshape(shape)


def _of_lists(name: str, frame: Any, shape: tuple[int, int]) -> NDArray[np.int16]:
    rows, columns = shape
    _require_list(name, frame, range(rows, rows + 1), "rows")
    for index, row in enumerate(frame):
        _require_row(f"{name}, row {index}", row, columns)
    return np.array(frame, np.int16)


def _require_row(name: str, row: Any, columns: int) -> None:
    _require_list(name, row, range(columns, columns + 1), "pixels")
    if set(map(type, row)) != {int}:
        odd = next(pixel for pixel in row if type(pixel) is not int)
        raise Refused(400, f"{name}: not pixels (found {reprlib.repr(odd)}, expected whole numbers in ADU)")
    low, high = min(row), max(row)
    if low < PIXEL.min or high > PIXEL.max:
        found, limits = f"{low} to {high}"[:60], f"{PIXEL.min} to {PIXEL.max}"
        raise Refused(400, f"{name}: out of range (found {found}, expected {limits} ADU)")


def feature_of(name: str, values: Any, frames: int) -> NDArray[np.float32]:
    """Return a feature (N,), NaN where it is null. Raises Refused, status 400."""
    _require_list(name, values, range(frames, frames + 1), "values, one a frame")
    odd = next((value for value in values if type(value) not in (int, float, type(None))), None)
    if odd is not None:
        raise Refused(
            400, f"{name}: not numbers (found {reprlib.repr(odd)}, expected numbers, or null where one is missing)"
        )
    with np.errstate(over="ignore"):  # beyond float32 is infinite, thus missing
        return np.array(values, np.float64).astype(np.float32)


def _require_list(name: str, value: Any, lengths: range, unit: str) -> None:
    if type(value) is not list:
        raise Refused(400, f"{name}: no list (found {type(value).__name__}, expected {_count(lengths)} {unit})")
    if len(value) not in lengths:
        raise Refused(400, f"{name}: wrong length (found {len(value)}, expected {_count(lengths)} {unit})")


def _count(lengths: range) -> str:
    return str(lengths[0]) if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
