"""Raw camera frames -> network input: the only preprocessing, as a visible, ordered list of steps.

| step            | frames after it                                                    |
|-----------------|--------------------------------------------------------------------|
| (raw)           | (N, rows, columns) int16, ADU with pedestal                        |
| subtract_dark   | same shape, float32, ADU above the mean dark frame                 |
| mend_hot_pixels | same shape and unit, hot pixels the mean of the good ones around   |
| roi             | (N, rows[1] - rows[0], columns[1] - columns[0]), same unit         |
| block_mean      | (N, rows // size, columns // size) float32, same unit              |
| clip            | same shape, values held between low and high                       |
| log             | same shape, log(1 + max(0, x)); 0 to about 8.3 for a 12-bit camera |
| contrast        | same shape, each frame of mean 0 and, unless it is flat, s.d. 1    |

`Preprocessing` holds the steps, their dark frame and the type of a stored pixel. The prepared file and the model carry it,
so that prepare, predict and the served model agree bit for bit. The mean and spread of the training set are a layer of the
model, not a step.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.prepare import Pixels, Step
from xtcav_ml.science import pixel_loops
from xtcav_ml.system.errors import UserError

Frames = NDArray[np.float32]
INT16 = np.iinfo(np.int16)
RAW_DTYPES = (np.int16, np.int32, np.float32)  # of raw frames: the narrowest that holds a file's pixels without loss
SMALLEST_SPREAD = 0.3  # ADU, of rounding to whole numbers: pixels that differ by less are alike

Function = Callable[[NDArray[Any]], NDArray[Any]]
"""Frames (N, rows, columns) in, frames out: int16 at first, float32 from the first step that does more than cut."""


@dataclass(frozen=True)
class Dark:
    """Level and noise of each pixel in the dark run, (rows, columns) float32, ADU."""

    mean: Frames
    noise: Frames  # standard deviation from frame to frame

    def hot(self, threshold: float) -> NDArray[np.bool_]:
        """Return the map of pixels whose level or noise is off the median by `threshold` robust standard deviations."""
        return _outliers(self.mean, threshold) | _outliers(self.noise, threshold)


def dark_of(count: int, total: NDArray[np.float64], squares: NDArray[np.float64]) -> Dark:
    """Return the dark frame from the number of frames, and their sum and sum of squares (rows, columns)."""
    mean = total / count
    return Dark(mean.astype(np.float32), np.sqrt(np.maximum(squares / count - mean * mean, 0)).astype(np.float32))


@dataclass(frozen=True)
class Preprocessing:
    """The way from a raw frame to a stored one, and from there to the network's input."""

    steps: tuple[Step, ...]
    pixels: Pixels
    raw_shape: tuple[int, int]  # rows and columns of a raw frame
    dark: Dark | None

    @property
    def shape(self) -> tuple[int, int]:
        """Return rows and columns of a prepared frame."""
        return output_shape(self.raw_shape, self.steps)

    def prepare(self, raw: NDArray[np.int16]) -> NDArray[np.generic]:
        """Return raw frames (N, rows, columns) after all steps, as stored. Raises as `into`."""
        stored = np.empty((len(raw), *self.shape), dtype=self.pixels.dtype)
        self.into(stored, raw)
        return stored

    def into(self, stored: NDArray[np.generic], raw: NDArray[np.int16]) -> None:
        """Write raw frames (N, rows, columns) after all steps to `stored`, which has the prepared shape and type.

        One frame at a time, which stays in the processor's cache from step to step. Raises ValueError if the shape of the
        frames is not `raw_shape`, or a step needs a dark frame and there is none.
        """
        if raw.shape[1:] != self.raw_shape or raw.dtype not in RAW_DTYPES:
            raise ValueError(
                f"frames must be (N, {self.raw_shape}) int16, int32 or float32, got {raw.shape} {raw.dtype}"
            )
        for number in range(len(raw)):
            frames: NDArray[Any] = raw[number : number + 1]
            for function in self._functions:
                frames = function(frames)
            self._store(frames[0].astype(np.float32, copy=False), stored[number])

    @functools.cached_property
    def _functions(self) -> list[Function]:
        return functions(self.steps, self.dark)

    @property
    def unit(self) -> float:
        """Return the value of a stored 1, in the unit after the last step."""
        return 1.0 if self.pixels.quantum is None else self.pixels.quantum

    def floats(self, stored: NDArray[np.generic]) -> Frames:
        """Return stored frames as numbers in the unit after the last step, float32."""
        values: Frames = stored.astype(np.float32)
        values *= np.float32(self.unit)
        return values

    def clipped(self, stored: NDArray[np.generic]) -> int:
        """Return the number of stored pixels at the ends of int16, which cut off all values beyond."""
        if self.pixels.dtype != "int16":
            return 0
        return int(np.count_nonzero((stored == INT16.max) | (stored == INT16.min)))

    def _store(self, frame: Frames, target: NDArray[np.generic]) -> None:
        if self.pixels.quantum is not None:
            units = frame * np.float32(1 / self.unit)
            np.rint(units, out=units)
            frame = np.clip(units, INT16.min, INT16.max, out=units)
        target[...] = frame


def functions(steps: Sequence[Step], dark: Dark | None) -> list[Function]:
    """Return the functions to call in order on raw frames; all work on the dark frame alone is done here, once.

    Raises ValueError if a step needs the dark frame and there is none.
    """
    chain = [FUNCTIONS[step.step](step, dark) for step in steps]
    if len(steps) > 1 and steps[0].step == "subtract_dark" and steps[1].step == "block_mean":
        # the other order is faster, and exact, since it adds whole numbers
        level = block_mean(_required(dark).mean[np.newaxis], steps[1].size)[0]
        chain[:2] = [chain[1], functools.partial(subtract, level=level)]
    return chain


FUNCTIONS: dict[str, Callable[[Any, Dark | None], Function]] = {
    "subtract_dark": lambda step, dark: functools.partial(subtract, level=_required(dark).mean),
    "mend_hot_pixels": lambda step, dark: functools.partial(
        mend, hot=Neighbours.of(_required(dark).hot(step.threshold))
    ),
    "roi": lambda step, dark: functools.partial(cut, rows=slice(*step.rows), columns=slice(*step.columns)),
    "block_mean": lambda step, dark: functools.partial(block_mean, size=step.size),
    "clip": lambda step, dark: functools.partial(np.clip, a_min=np.float32(step.low), a_max=np.float32(step.high)),
    "contrast": lambda step, dark: functools.partial(contrast, floor=step.floor),
    "log": lambda step, dark: log,
}
"""The function of each step of `prepare.images`, by its name."""


def output_shape(shape: tuple[int, int], steps: Sequence[Step]) -> tuple[int, int]:
    """Return rows and columns of a frame of `shape` after all steps; (0, 0) and the like if nothing is left.

    Raises UserError if a region of interest reaches beyond the frame.
    """
    for number, step in enumerate(steps):
        if step.step == "roi":
            if step.rows[1] > shape[0] or step.columns[1] > shape[1]:
                raise UserError(
                    f"prepare.images.{number}: roi reaches beyond the frame (found rows {list(step.rows)} and columns "
                    f"{list(step.columns)}, expected at most {shape[0]} x {shape[1]}). Fix: lower them"
                )
            shape = (step.rows[1] - step.rows[0], step.columns[1] - step.columns[0])
        if step.step == "block_mean":
            shape = (shape[0] // step.size, shape[1] // step.size)
    return shape


def subtract(frames: NDArray[Any], level: Frames) -> Frames:
    """Return frames (N, rows, columns) minus `level` (rows, columns), ADU. Raises ValueError if the shapes differ."""
    if frames.shape[1:] != level.shape:
        raise ValueError(f"dark frame must have shape {frames.shape[1:]}, got {level.shape}")
    return np.asarray(np.subtract(frames, level, dtype=np.float32))


def cut(frames: NDArray[Any], rows: slice, columns: slice) -> NDArray[Any]:
    """Return a region of frames (N, rows, columns)."""
    return frames[:, rows, columns]


def block_mean(frames: NDArray[np.generic], size: int) -> Frames:
    """Return (N, rows // size, columns // size) float32: means of size x size pixels; what is left over is dropped.

    Frames are int16, int32 or float32; integers are added as integers.
    """
    means = np.empty((len(frames), *(length // size for length in frames.shape[1:])), np.float32)
    pixel_loops.block_mean(frames.dtype, size)(pixel_loops.in_one_piece(frames), means)
    return means


@dataclass(frozen=True)
class Neighbours:
    """Flat indices of k pixels (k,) and of those around them (k, 8), with weights (k, 8) that leave the bad ones out."""

    pixels: NDArray[np.int64]
    around: NDArray[np.int64]
    weights: Frames

    @classmethod
    def of(cls, bad: NDArray[np.bool_]) -> Self:
        """Return the neighbours of all `bad` pixels (rows, columns) that have a good one."""
        height, width = bad.shape
        rows, columns = np.nonzero(bad)
        offsets = np.array([(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column])
        near_rows, near_columns = rows[:, np.newaxis] + offsets[:, 0], columns[:, np.newaxis] + offsets[:, 1]
        inside = (near_rows >= 0) & (near_rows < height) & (near_columns >= 0) & (near_columns < width)
        near_rows, near_columns = np.clip(near_rows, 0, height - 1), np.clip(near_columns, 0, width - 1)
        good = (inside & ~bad[near_rows, near_columns]).astype(np.float32)
        some = good.sum(axis=1) > 0
        weights = good[some] / good[some].sum(axis=1, keepdims=True)
        return cls((rows * width + columns)[some], (near_rows * width + near_columns)[some], weights)


def mend(frames: NDArray[Any], hot: Neighbours) -> Frames:
    """Return frames (N, rows, columns) in which each hot pixel is the weighted mean of its neighbours."""
    flat = frames.astype(np.float32).reshape(len(frames), -1)
    flat[:, hot.pixels] = (flat[:, hot.around] * hot.weights).sum(axis=2)
    return np.asarray(flat.reshape(frames.shape))


def contrast(frames: Frames, floor: float) -> Frames:
    """Return frames (N, rows, columns) each minus its mean, over its standard deviation or `floor`, whichever is more."""
    mean = frames.mean(axis=(1, 2), keepdims=True, dtype=np.float64).astype(np.float32)
    centred = frames - mean
    spread = np.sqrt(np.square(centred, dtype=np.float64).mean(axis=(1, 2), keepdims=True))
    return np.asarray(centred / np.maximum(spread, floor).astype(np.float32))


def log(frames: Frames) -> Frames:
    """Return the logarithm of 1 + max(0, x), which brings a beam of thousands of ADU and its halo to one scale.

    What is not finite stays so.
    """
    values = pixel_loops.in_one_piece(frames.astype(np.float32, copy=False))
    logarithms = np.empty_like(values)
    pixel_loops.log1p_of_positive()(values.reshape(-1), logarithms.reshape(-1))
    return logarithms


def saturated_pixels(frames: NDArray[np.int16], saturation: int) -> NDArray[np.int64]:
    """Return the number of pixels of each raw frame (N, rows, columns) that reach `saturation`, ADU."""
    counts = np.zeros(len(frames), dtype=np.int64)
    for i in np.flatnonzero(frames.max(axis=(1, 2)) >= saturation):  # few: the maximum is faster than a count
        counts[i] = np.count_nonzero(frames[i] >= saturation)
    return counts


def signal(frames: NDArray[np.int16], dark: Dark | None) -> NDArray[np.float64]:
    """Return the mean pixel of each raw frame (N, rows, columns) above that of the dark frame, ADU.

    Every eighth row is enough: a beam gives some ADU, no beam some hundredths.
    """
    rows = frames[:, ::8]
    levels: NDArray[np.float64] = rows.sum(axis=(1, 2), dtype=np.float64) / max(rows[0].size, 1)
    return levels - (0.0 if dark is None else float(dark.mean[::8].mean(dtype=np.float64)))


def _required(dark: Dark | None) -> Dark:
    if dark is None:
        raise ValueError("a step needs the dark frame, and there is none")
    return dark


def _outliers(values: Frames, threshold: float) -> NDArray[np.bool_]:
    away = np.abs(values - np.median(values))
    spread = max(1.4826 * float(np.median(away)), SMALLEST_SPREAD)  # the normal distribution's s.d. over its m.a.d.
    return np.asarray(away > threshold * spread)
