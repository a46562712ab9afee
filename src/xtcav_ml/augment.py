"""Frames as the beam might have made them on another shot: moved a little, of a little more or less charge.

What changes no label. Made anew for every epoch, of the stored pixels, in numpy: the network sees nothing but numbers that a
camera could have given. (Noise is a layer of the network, on standardized pixels.)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.errors import UserError
from xtcav_ml.images import INT16, Preprocessing
from xtcav_ml.params.train import Augment

GAINS = 61
"""Gains are drawn from so many, between minus and plus three s.d., so that a table of all int16 can be kept for each."""


@dataclass
class Augmentation:
    """Shifts and gains of stored frames. Raises UserError if a gain would make no difference."""

    rules: Augment
    preprocessing: Preprocessing

    def __post_init__(self) -> None:
        steps = [step.step for step in self.preprocessing.steps]
        if self.rules.gain and "contrast" in steps:
            raise UserError(
                f"train.augment.gain: must be 0 where prepare.images has a contrast step, got {self.rules.gain:g}: each frame "
                "is brought to one scale; set it to 0"
            )
        self.logarithmic = "log" in steps
        self._tables: dict[float, NDArray[np.int16]] = {}

    def apply(self, frames: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Return stored frames (N, rows, columns), each moved and scaled by what `rng` gives."""
        made = np.empty_like(frames)
        spread = np.array(self.rules.shift)
        shifts = rng.integers(-spread, spread + 1, (len(frames), 2))
        levels = np.rint(np.clip(rng.normal(size=len(frames)), -3, 3) * (GAINS - 1) / 6) * 6 / (GAINS - 1)
        for number, frame in enumerate(frames):
            moved = shifted(frame, *map(int, shifts[number]))
            made[number] = self._scaled(moved, float(np.exp(self.rules.gain * levels[number])))
        return made

    def _scaled(self, frame: NDArray[Any], gain: float) -> NDArray[Any]:
        if gain == 1:
            return frame
        if frame.dtype != np.int16:
            return self._brighter(frame, gain).astype(frame.dtype)
        if gain not in self._tables:
            every = np.arange(INT16.min, INT16.max + 1)
            units = self._brighter(every * self.preprocessing.unit, gain) / self.preprocessing.unit
            self._tables[gain] = np.clip(np.rint(units), INT16.min, INT16.max).astype(np.int16)
        scaled: NDArray[np.int16] = self._tables[gain][frame.astype(np.int32) - INT16.min]
        return scaled

    def _brighter(self, values: NDArray[Any], gain: float) -> NDArray[np.float64]:
        """Return what pixels of `values` would be if `gain` times the light had come."""
        values = values.astype(np.float64)
        return np.log1p(gain * np.expm1(np.maximum(values, 0))) if self.logarithmic else gain * values


def shifted(frame: NDArray[Any], down: int, right: int) -> NDArray[Any]:
    """Return `frame` (rows, columns) moved by so many pixels; what comes in at an edge is the mirror image of what is there."""
    rows, columns = (_mirrored(length, by) for length, by in zip(frame.shape, (down, right), strict=True))
    return frame[rows][:, columns]


def _mirrored(length: int, by: int) -> NDArray[np.int64]:
    places = np.abs(np.arange(length) - by)
    return np.asarray(length - 1 - np.abs(length - 1 - places))
