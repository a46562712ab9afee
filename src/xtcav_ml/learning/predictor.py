"""A trained model that takes raw camera frames, for `xtcav predict` and the served model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.learning import keras_file
from xtcav_ml.learning.layer_plan import CLASS_HEAD, FEATURES_INPUT, FRAME_INPUT, NUMBER_HEAD

FRAMES_A_CALL = 32
"""Most frames in a call of the network. Zeros fill up the last call to a power of two, so that JAX compiles few sizes."""

FEW = 16  # oneDNN sums the rows of smaller products in another order

NO_CLASS = -1  # predicted class of a shot with a feature that is not finite


@dataclass(frozen=True)
class Prediction:
    """Predictions for N shots; NaN for a shot with a feature that is not finite."""

    probabilities: NDArray[np.float32]  # (N, classes); (N, 0) where no classes are learned
    numbers: NDArray[np.float32]  # (N, V), in the units of the raw files

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Return the number of each shot's likeliest class (N,), or NO_CLASS."""
        if not self.probabilities.shape[1]:
            return np.full(len(self.probabilities), NO_CLASS)
        finite = np.isfinite(self.probabilities).all(axis=1)
        return np.where(finite, np.nan_to_num(self.probabilities).argmax(axis=1), NO_CLASS)


class Predictor:
    """The model in a file that `xtcav train` wrote; `sealed` as for `load_network`. Raises UserError if it cannot be read."""

    def __init__(self, path: Path, *, sealed: bool = True) -> None:
        self.model, self.spec = keras_file.load_network(path, sealed=sealed)

    def inputs(self, frames: NDArray[np.int16]) -> NDArray[np.generic]:
        """Return the prepared pixels of raw frames (N, rows, columns): bit for bit as the network was trained on."""
        return self.spec.preprocessing.prepare(frames)

    def predict(self, frames: NDArray[np.int16], features: NDArray[np.float32] | None = None) -> Prediction:
        """Return the prediction for raw frames (N, rows, columns), ADU, with the features (N, F) that the model needs.

        A shot alone is a product of a vector and a matrix in dense layers, summed in another order: its numbers are within
        1e-6 of those among others. Frames of a model without them are (N, 0, 0). A shot with a feature that is not finite
        changes nothing for the others. Raises ValueError if the shapes are not the model's.
        """
        values = np.empty((len(frames), 0), np.float32) if features is None else np.asarray(features, np.float32)
        if values.shape != (len(frames), len(self.spec.features)):
            raise ValueError(
                f"features must be {list(self.spec.features)}, a row for each of {len(frames)} frames, got {values.shape}"
            )
        unusable = np.flatnonzero(~np.isfinite(values).all(axis=1))
        values = np.nan_to_num(values, posinf=0, neginf=0)
        calls = [slice(first, first + FRAMES_A_CALL) for first in range(0, len(frames), FRAMES_A_CALL)]
        answers = [self._call(self.inputs(frames[call]), values[call]) for call in calls]

        def joined(head: str, width: int) -> NDArray[np.float32]:
            parts = [answer[head] for answer in answers if width]
            array = np.concatenate(parts) if parts else np.empty((len(frames), width), np.float32)
            array[unusable] = np.nan
            return array

        spec = self.spec
        return Prediction(joined(CLASS_HEAD, len(spec.classes)), joined(NUMBER_HEAD, len(spec.regression)))

    def _call(self, images: NDArray[np.generic], features: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        inputs: dict[str, NDArray[Any]] = {}
        if self.spec.has_frames:
            inputs[FRAME_INPUT] = _filled(images)[..., np.newaxis]
        if features.shape[1]:
            inputs[FEATURES_INPUT] = _filled(features)
        answers = self.model.predict_on_batch(inputs)
        return {name: np.asarray(values)[: len(images)] for name, values in answers.items()}


def _filled(values: NDArray[Any]) -> NDArray[Any]:
    """Return `values` (N, ...) with zeros up to a power of two of rows; of more than one, at least FEW."""
    rows = 1 << (len(values) - 1).bit_length()
    rows = max(rows, FEW) if rows > 1 else rows
    return np.concatenate([values, np.zeros((rows - len(values), *values.shape[1:]), values.dtype)])
