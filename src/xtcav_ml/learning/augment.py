"""Augmentation: frames as other shots might have had them, shifted a little and with a little more or less light.

Labels stay true. Every epoch draws new variations of the stored pixels, in numpy, so the network only sees values that a
camera could have given. (Noise is a layer of the network, on standardized pixels.)
"""

import functools
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.train import Augment
from xtcav_ml.science.images import INT16, Preprocessing
from xtcav_ml.system.machine_code import cached

StoredPixels = NDArray[np.int16]
PixelIndices = NDArray[np.int64]

GAIN_LEVELS = 61  # number of gains between minus and plus three s.d.: few enough to keep a table of all int16 for each


@dataclass
class Augmentation:
    """Shifts and gains of stored frames; `rules` have passed `rules.require_augmentable`."""

    rules: Augment
    preprocessing: Preprocessing

    def __post_init__(self) -> None:
        self.logarithmic = any(step.step == "log" for step in self.preprocessing.steps)
        self._tables: dict[float, StoredPixels] = {}

    def apply(
        self, frames: NDArray[Any], rng: np.random.Generator, first: int = 0, count: int | None = None
    ) -> NDArray[Any]:
        """Return stored frames (N, rows, columns), each with a shift and a gain drawn from `rng`.

        They are those from `first` of a minibatch of `count` frames, by default all, and varied as in the whole minibatch.
        """
        varied, count = np.empty_like(frames), len(frames) if count is None else count
        limits = np.array(self.rules.shift)
        shifts = rng.integers(-limits, limits + 1, (count, 2))[first:]
        levels = np.rint(np.clip(rng.normal(size=count), -3, 3) * (GAIN_LEVELS - 1) / 6) * 6 / (GAIN_LEVELS - 1)
        levels = levels[first:]
        for number, frame in enumerate(frames):
            pixels = shifted(frame.shape, *map(int, shifts[number]))
            gain = float(np.exp(self.rules.gain * levels[number]))
            if frame.dtype == np.int16:
                _compiled()(frame, *pixels, self._table(gain), varied[number])
            else:
                values = frame[np.ix_(*pixels)]
                varied[number] = values if gain == 1 else self._brighter(values, gain)
        return varied

    def _table(self, gain: float) -> StoredPixels:
        """Return the value that each int16 (65,536) becomes."""
        if gain not in self._tables:
            values, unit = np.arange(INT16.min, INT16.max + 1), self.preprocessing.unit
            brighter = values if gain == 1 else self._brighter(values * unit, gain) / unit
            self._tables[gain] = np.clip(np.rint(brighter), INT16.min, INT16.max).astype(np.int16)
        return self._tables[gain]

    def _brighter(self, values: NDArray[Any], gain: float) -> NDArray[np.float64]:
        """Return the pixel values for `gain` times the light."""
        values = values.astype(np.float64)
        return np.log1p(gain * np.expm1(np.maximum(values, 0))) if self.logarithmic else gain * values


def shifted(shape: tuple[int, ...], *shifts: int) -> list[PixelIndices]:
    """Return the row and column indices that a frame of `shape` shows after a shift by `shifts` pixels.

    The frame is mirrored at its edges, repeatedly: no index lies outside it, which compiled code would not notice.
    """
    indices = []
    for length, shift in zip(shape, shifts, strict=True):
        period = max(2 * (length - 1), 1)  # there and back, the edges once
        index = (np.arange(length) - shift) % period
        indices.append(np.minimum(index, period - index))
    return indices


@functools.cache
def _compiled() -> Any:
    return cached(functools.partial(numba.njit, nogil=True), _look_up)


def _look_up(
    frame: StoredPixels, rows: PixelIndices, columns: PixelIndices, table: StoredPixels, varied: StoredPixels
) -> None:
    """Write the `table` entries of the pixels at `rows` and `columns` to `varied` in one pass, four times faster than numpy."""
    for i in range(len(rows)):
        row = frame[rows[i]]
        for j in range(len(columns)):
            varied[i, j] = table[row[columns[j]] + 32768]
