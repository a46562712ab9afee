"""Saliency maps: what each pixel of a frame adds to an output of the network."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.learning import backend
from xtcav_ml.learning.backend import keras
from xtcav_ml.learning.layer_plan import CLASS_HEAD, FRAME_INPUT, STANDARDIZE

STEPS = 16
"""Points on the way from no beam to the frame. The sum of a map then misses the difference of the scores by some per cent."""


def maps(
    model: keras.Model, inputs: Mapping[str, NDArray[Any]], head: str, units: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Return for each shot what each pixel adds to the score of unit `units` (N,) of layer `head`, (N, rows, columns).

    `inputs` are the network's, pixels as stored. The score is that before the softmax; of a class, above the mean of all. A map
    adds up to the score of the frame minus that of a frame without beam, which is the frame's own median everywhere.
    Integrated gradients: M. Sundararajan et al., Proc. Mach. Learn. Res. 70 (2017) 3319. A pixel has the place that it has in
    the frame, whatever kernels, strides and padding come after it.
    """
    shots = [
        _map(model, {name: values[i : i + 1] for name, values in inputs.items()}, head, unit)
        for i, unit in enumerate(units)
    ]
    return np.stack(shots)


def _map(model: keras.Model, inputs: Mapping[str, NDArray[Any]], head: str, unit: int) -> NDArray[np.float32]:
    """Return the map (rows, columns) of one shot: inputs of a batch of one."""
    frame, rest = inputs[FRAME_INPUT], {name: values for name, values in inputs.items() if name != FRAME_INPUT}
    empty = np.full_like(frame, np.median(frame))
    standardize = model.get_layer(STANDARDIZE)
    ends = [np.asarray(keras.ops.cast(standardize(each), "float32")) for each in (empty, frame)]  # from any precision
    along = ((np.arange(STEPS, dtype=np.float32) + 0.5) / STEPS)[:, np.newaxis, np.newaxis, np.newaxis]
    others = {name: np.repeat(values, STEPS, axis=0) for name, values in rest.items()}
    slopes = _gradients(model, ends[0] + along * (ends[1] - ends[0]), others, head, unit)
    found: NDArray[np.float32] = ((ends[1] - ends[0])[0] * slopes.mean(axis=0))[..., 0]
    return found


def _gradients(
    model: keras.Model, values: NDArray[np.float32], others: Mapping[str, NDArray[Any]], head: str, unit: int
) -> NDArray[np.floating]:
    """Return the derivative of the score of `unit` of `head` by standardized frames `values` (M, rows, columns, 1)."""
    last = model.get_layer(head)
    rest = keras.Model([model.get_layer(STANDARDIZE).output, *(model.input[name] for name in others)], last.input)
    wanted = np.eye(last.units, dtype=np.float32)[unit] - (1 / last.units if head == CLASS_HEAD else 0)
    more = [keras.ops.convert_to_tensor(each) for each in others.values()]

    def score(x: Any) -> Any:  # before the softmax, whose gradient vanishes where it is sure
        return keras.ops.sum((keras.ops.matmul(rest([x, *more]), last.kernel) + last.bias) * wanted, axis=1)

    return backend.gradient(score, values)
