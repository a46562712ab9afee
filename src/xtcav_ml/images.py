"""Raw camera frames -> network input: the only preprocessing, as a visible, ordered list of steps.

| step          | frames after it                                                    |
|---------------|--------------------------------------------------------------------|
| (raw)         | (N, rows, columns) int16, ADU with pedestal                        |
| subtract_dark | same shape, float32, ADU above the mean dark frame                 |
| roi           | (N, rows[1] - rows[0], columns[1] - columns[0]), same unit         |
| block_mean    | (N, rows // size, columns // size) float32, same unit              |
| clip          | same shape, values held between low and high                       |
| log           | same shape, log(1 + max(0, x)); 0 to about 8.3 for a 12-bit camera |
| contrast      | same shape, each frame of mean 0 and, unless it is flat, s.d. 1    |

What depends on the training set (its mean and spread) is a layer inside the model, not a step.
"""

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.errors import UserError
from xtcav_ml.params.prepare import Step

Frames = NDArray[np.float32]


def apply(frames: NDArray[np.int16], steps: Sequence[Step], dark: Frames | None) -> Frames:
    """Return raw frames (N, rows, columns) after all steps, float32; `dark` (rows, columns) is the mean dark frame.

    Raises ValueError if a step needs the dark frame and there is none, or its shape is not that of the frames.
    """
    result: Frames = frames.astype(np.float32)
    for step in steps:
        if step.step == "subtract_dark":
            result = subtract_dark(result, dark)
        elif step.step == "roi":
            result = result[:, slice(*step.rows), slice(*step.columns)]
        elif step.step == "block_mean":
            result = block_mean(result, step.size)
        elif step.step == "clip":
            result = np.clip(result, np.float32(step.low), np.float32(step.high))
        elif step.step == "contrast":
            result = contrast(result, step.floor)
        else:
            result = log(result)
    return result


def output_shape(shape: tuple[int, int], steps: Sequence[Step]) -> tuple[int, int]:
    """Return rows and columns of a frame of `shape` after all steps; (0, 0) and the like if nothing is left.

    Raises UserError if a region of interest reaches beyond the frame.
    """
    for number, step in enumerate(steps):
        if step.step == "roi":
            if step.rows[1] > shape[0] or step.columns[1] > shape[1]:
                raise UserError(
                    f"prepare.images.{number}: roi must lie in the frame of {shape[0]} x {shape[1]} pixels, got rows "
                    f"{list(step.rows)} and columns {list(step.columns)}; lower them"
                )
            shape = (step.rows[1] - step.rows[0], step.columns[1] - step.columns[0])
        if step.step == "block_mean":
            shape = (shape[0] // step.size, shape[1] // step.size)
    return shape


def subtract_dark(frames: Frames, dark: Frames | None) -> Frames:
    """Return frames (N, rows, columns) less the dark frame (rows, columns), ADU."""
    if dark is None or dark.shape != frames.shape[1:]:
        raise ValueError(f"dark frame must have shape {frames.shape[1:]}, got {None if dark is None else dark.shape}")
    return frames - dark


def block_mean(frames: Frames, size: int) -> Frames:
    """Return (N, rows // size, columns // size): means of size x size pixels; what is left over is dropped.

    Rows are added before columns: the first additions are then of contiguous memory, twice as fast as a reshape.
    """
    rows, columns = (length // size for length in frames.shape[1:])
    cut = frames[:, : rows * size, : columns * size]
    by_rows = functools.reduce(np.add, (cut[:, offset::size] for offset in range(size)))
    total = functools.reduce(np.add, (by_rows[:, :, offset::size] for offset in range(size)))
    return np.asarray(total * np.float32(1 / size**2), dtype=np.float32)


def contrast(frames: Frames, floor: float) -> Frames:
    """Return frames (N, rows, columns) each less its mean, over its standard deviation or `floor`, whichever is more."""
    mean = frames.mean(axis=(1, 2), keepdims=True, dtype=np.float64).astype(np.float32)
    centred = frames - mean
    spread = np.sqrt(np.square(centred, dtype=np.float64).mean(axis=(1, 2), keepdims=True))
    even: Frames = centred / np.maximum(spread, floor).astype(np.float32)
    return even


def log(frames: Frames) -> Frames:
    """Return the logarithm of 1 + max(0, x), which brings a beam of thousands of ADU and its halo to one scale."""
    return np.log1p(np.maximum(frames, 0))
