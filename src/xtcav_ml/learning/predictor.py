"""A trained model that takes raw camera frames: what `xtcav predict` and the served model call."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.learning import keras_file
from xtcav_ml.learning.layer_plan import CLASS_HEAD, FEATURES_INPUT, FRAME_INPUT, NUMBER_HEAD

FRAMES_A_CALL = 32
"""Frames in a call of the network. The last ones are filled up: a network is then built for one size."""

NO_CLASS = -1
"""Predicted class of a shot of which a feature is not finite: nothing can be said of it."""


@dataclass(frozen=True)
class Prediction:
    """What a model says of N shots; NaN of those of which a feature is not finite."""

    probabilities: NDArray[np.float32]  # (N, classes); (N, 0) where no classes are learned
    numbers: NDArray[np.float32]  # (N, V), in the units of the raw files

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Return the number of each shot's likeliest class (N,), or NO_CLASS."""
        if not self.probabilities.shape[1]:
            return np.full(len(self.probabilities), NO_CLASS)
        known = np.isfinite(self.probabilities).all(axis=1)
        return np.where(known, np.nan_to_num(self.probabilities).argmax(axis=1), NO_CLASS)


class Predictor:
    """The model in a file that `xtcav train` wrote. Raises UserError if it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.model, self.meaning = keras_file.load(path)

    def inputs(self, frames: NDArray[np.int16]) -> NDArray[np.generic]:
        """Return what the network is given for raw frames (N, rows, columns): the very numbers that it was trained on."""
        return self.meaning.preprocessing.prepare(frames)

    def predict(self, frames: NDArray[np.int16], features: NDArray[np.float32] | None = None) -> Prediction:
        """Return the prediction for raw frames (N, rows, columns), ADU, with the features (N, F) that the model needs.

        A shot of which a feature is not finite changes nothing for the others. Raises ValueError if the shapes are not the
        model's.
        """
        given = np.empty((len(frames), 0), np.float32) if features is None else np.asarray(features, np.float32)
        if given.shape != (len(frames), len(self.meaning.features)):
            raise ValueError(
                f"features must be {list(self.meaning.features)}, a row for each of {len(frames)} frames, got {given.shape}"
            )
        unusable = np.flatnonzero(~np.isfinite(given).all(axis=1))
        given = np.nan_to_num(given, posinf=0, neginf=0)
        parts = [
            self._call(self.inputs(frames[first : first + FRAMES_A_CALL]), given[first : first + FRAMES_A_CALL])
            for first in range(0, len(frames), FRAMES_A_CALL)
        ]
        widths = {CLASS_HEAD: len(self.meaning.classes), NUMBER_HEAD: len(self.meaning.regression)}
        joined = {
            name: np.concatenate([part[name] for part in parts])
            if width and parts
            else np.empty((len(frames), width), np.float32)
            for name, width in widths.items()
        }
        for values in joined.values():
            values[unusable] = np.nan
        return Prediction(joined[CLASS_HEAD], joined[NUMBER_HEAD])

    def _call(self, images: NDArray[np.generic], features: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        given: dict[str, NDArray[Any]] = {FRAME_INPUT: _filled(images)[..., np.newaxis]}
        if features.shape[1]:
            given[FEATURES_INPUT] = _filled(features)
        found = self.model.predict_on_batch(given)
        return {name: np.asarray(values)[: len(images)] for name, values in found.items()}


def _filled(values: NDArray[Any]) -> NDArray[Any]:
    """Return `values` with zeros up to FRAMES_A_CALL rows."""
    return np.concatenate([values, np.zeros((FRAMES_A_CALL - len(values), *values.shape[1:]), values.dtype)])
