"""Frames as the beam might have made them on another shot: moved a little, of a little more or less charge.

What changes no label. Made anew for every epoch, of the stored pixels, in numpy: the network sees nothing but numbers that a
camera could have given. (Noise is a layer of the network, on standardized pixels.)
"""

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.train import Augment
from xtcav_ml.science.images import INT16, Preprocessing

GAINS = 61
"""Gains are drawn from so many, between minus and plus three s.d., so that a table of all int16 can be kept for each."""


@dataclass
class Augmentation:
    """Shifts and gains of stored frames, of `rules.require_augmentable`."""

    rules: Augment
    preprocessing: Preprocessing

    def __post_init__(self) -> None:
        self.logarithmic = any(step.step == "log" for step in self.preprocessing.steps)
        self._tables: dict[float, NDArray[np.int16]] = {}

    def apply(self, frames: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Return stored frames (N, rows, columns), each moved and scaled by what `rng` gives."""
        made = np.empty_like(frames)
        spread = np.array(self.rules.shift)
        shifts = rng.integers(-spread, spread + 1, (len(frames), 2))
        levels = np.rint(np.clip(rng.normal(size=len(frames)), -3, 3) * (GAINS - 1) / 6) * 6 / (GAINS - 1)
        for number, frame in enumerate(frames):
            places = moved(frame.shape, *map(int, shifts[number]))
            gain = float(np.exp(self.rules.gain * levels[number]))
            if frame.dtype == np.int16:
                _look_up(frame, *places, self._table(gain), made[number])
            else:
                there = frame[np.ix_(*places)]
                made[number] = there if gain == 1 else self._brighter(there, gain)
        return made

    def _table(self, gain: float) -> NDArray[np.int16]:
        """Return what becomes of each int16 (65,536)."""
        if gain not in self._tables:
            every = np.arange(INT16.min, INT16.max + 1)
            units = (
                every if gain == 1 else self._brighter(every * self.preprocessing.unit, gain) / self.preprocessing.unit
            )
            self._tables[gain] = np.clip(np.rint(units), INT16.min, INT16.max).astype(np.int16)
        return self._tables[gain]

    def _brighter(self, values: NDArray[Any], gain: float) -> NDArray[np.float64]:
        """Return what pixels of `values` would be if `gain` times the light had come."""
        values = values.astype(np.float64)
        return np.log1p(gain * np.expm1(np.maximum(values, 0))) if self.logarithmic else gain * values


def moved(shape: tuple[int, ...], *shifts: int) -> list[NDArray[np.int64]]:
    """Return the rows and the columns that a frame of `shape` shows after it was moved by `shifts` pixels, however many.

    What comes in at an edge is the mirror image of what is there, over and over: no index lies outside the frame, which
    compiled code would not notice.
    """
    found = []
    for length, by in zip(shape, shifts, strict=True):
        period = max(2 * (length - 1), 1)  # there and back, the edges once
        places = (np.arange(length) - by) % period
        found.append(np.minimum(places, period - places))
    return found


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _look_up(
    frame: NDArray[np.int16],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    table: NDArray[np.int16],
    made: NDArray[np.int16],
) -> None:
    """Write what `table` says of the pixels at `rows` and `columns` to `made`, in one pass: four times as fast as numpy's."""
    for i in range(len(rows)):
        row = frame[rows[i]]
        for j in range(len(columns)):
            made[i, j] = table[row[columns[j]] + 32768]
