"""A trained network as Keras computes it, for `Predictor`: of many shots at once, and any network."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.learning import backend, keras_file
from xtcav_ml.learning.layer_plan import FEATURES_INPUT, FRAME_INPUT

FEW = 16  # oneDNN sums the rows of smaller products in another order


class KerasNetwork:
    """The network in a file that `xtcav train` wrote, on so many `threads`, or as Keras is set in this process.

    `sealed` as for `load_network`. Raises UserError if it cannot be read, or Keras already runs with other threads.
    """

    def __init__(self, path: Path, threads: int | None, *, sealed: bool = True) -> None:
        self.device = backend.configure(seed=0, threads=threads) if threads else backend.name()
        self.model, _ = keras_file.load_network(path, sealed=sealed)

    def __call__(self, images: NDArray[Any], features: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return the outputs, (N, classes) or (N, numbers), for prepared frames (N, rows, columns) and features (N, F).

        Frames of a model without them are (N, 0, 0). Zeros fill the shots up to a power of two, so that JAX compiles few sizes.
        """
        inputs: dict[str, NDArray[Any]] = {}
        if 0 not in images.shape[1:]:
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
