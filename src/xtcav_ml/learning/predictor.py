"""A trained model that takes raw camera frames, for `xtcav predict` and the served model.

Nearly every network is computed by `frame_network`, shot by shot: it starts in a fraction of the time that TensorFlow takes,
and has the answer for a single frame sooner. The others are computed by Keras.
"""

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.data import model_file
from xtcav_ml.learning import frame_network
from xtcav_ml.learning.frame_network import FrameNetwork
from xtcav_ml.learning.layer_plan import CLASS_HEAD, NUMBER_HEAD, Ends
from xtcav_ml.system.helpers import Helpers

FRAMES_A_CALL = 32
"""Frames that are computed before the next ones: most in a call of Keras, and what bounds memory."""

NO_CLASS = -1  # predicted class of a shot with a feature that is not finite

Outputs = Mapping[str, NDArray[np.float32]]  # (N, width) by head
Network = Callable[[NDArray[np.int16], NDArray[np.float32]], Outputs]  # of raw frames and features
Prepare = Callable[[NDArray[np.int16]], NDArray[np.generic]]


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
    """The model in a file that `xtcav train` wrote, computed by so many `threads` (default: one for each processor).

    `device` says what computes it. `sealed` as for `read_model_file`. Raises UserError if it cannot be read.
    """

    def __init__(self, path: Path, *, threads: int | None = None, sealed: bool = True) -> None:
        parts, self.spec = model_file.read_model_file(path, sealed=sealed)
        with model_file.refusing_others(path):
            network = frame_network.read_network(parts, Ends.of(self.spec))
        if network is not None:
            count = threads or len(os.sched_getaffinity(0))
            self.device = f"{count} thread{'s' * (count > 1)}"
            self._network: Network = functools.partial(_shot_by_shot, network, self.inputs, Helpers(count))
        else:
            from xtcav_ml.learning.keras_network import KerasNetwork  # which takes seconds to import

            keras = KerasNetwork(path, threads, sealed=sealed)
            self.device = keras.device
            self._network = lambda frames, features: keras(self.inputs(frames), features)

    def inputs(self, frames: NDArray[np.int16]) -> NDArray[np.generic]:
        """Return the prepared pixels of raw frames (N, rows, columns): bit for bit as the network was trained on."""
        return self.spec.preprocessing.prepare(frames)

    def predict(self, frames: NDArray[np.int16], features: NDArray[np.float32] | None = None) -> Prediction:
        """Return the prediction for raw frames (N, rows, columns), ADU, with the features (N, F) that the model needs.

        A shot's numbers do not depend on what comes with it, but for a network that Keras computes: alone they are within
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
        answers = [self._network(frames[call], values[call]) for call in calls]

        def joined(head: str, width: int) -> NDArray[np.float32]:
            parts = [answer[head] for answer in answers if width]
            array = np.concatenate(parts) if parts else np.empty((len(frames), width), np.float32)
            array[unusable] = np.nan
            return array

        spec = self.spec
        return Prediction(joined(CLASS_HEAD, len(spec.classes)), joined(NUMBER_HEAD, len(spec.regression)))


def _shot_by_shot(
    network: FrameNetwork, prepare: Prepare, helpers: Helpers, frames: NDArray[np.int16], features: NDArray[np.float32]
) -> Outputs:
    """Return the outputs for raw frames: the threads share the frames, or the work of a single one."""
    answers = dict[int, Outputs]()
    inside = helpers if len(frames) == 1 else None

    def answer(shot: int) -> None:
        answers[shot] = network(prepare(frames[shot : shot + 1])[0], features[shot], inside)

    helpers.share(answer, len(frames))
    return {head: np.stack([answers[shot][head] for shot in range(len(frames))]) for head in answers[0]}
