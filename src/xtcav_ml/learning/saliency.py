"""Where a network looks: maps of what in a frame speaks for an answer."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.learning import backend
from xtcav_ml.learning.backend import keras
from xtcav_ml.learning.layer_plan import FRAME_INPUT

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.SeparableConv2D, keras.layers.DepthwiseConv2D)


def maps(
    model: keras.Model, inputs: Mapping[str, NDArray[Any]], head: str, units: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Return for each shot what speaks for unit `units` (N,) of layer `head`, 0 to 1, as (N, rows, columns) over the frame.

    `inputs` are what the network takes, pixels as stored. Grad-CAM, R. R. Selvaraju et al., Proc. ICCV (2017) 618, of the
    last map that is as large as that of the last convolution; its rows and columns cover the frame. Without a convolution
    the size of the gradient at the pixels: K. Simonyan et al., arXiv:1312.6034. A map is zero where nothing speaks for
    the unit.
    """
    layer, is_convolved = _last_map(model)
    seen = keras.Model(model.input, layer.output)(dict(inputs), training=False)
    values = keras.ops.convert_to_numpy(keras.ops.cast(seen, "float32"))  # of a network in any precision
    gradients = _gradients(model, layer, values, inputs, head, units)
    if is_convolved:
        weights = gradients.mean(axis=(1, 2), keepdims=True)
        found = np.maximum((weights * values).sum(axis=3), 0)
    else:
        found = np.abs(gradients).max(axis=3)
    largest = found.max(axis=(1, 2), keepdims=True)
    scaled: NDArray[np.float32] = np.divide(found, largest, out=np.zeros_like(found), where=largest > 0)
    return scaled


def _last_map(model: keras.Model) -> tuple[keras.layers.Layer, bool]:
    """Return the layer whose output, (N, rows, columns, channels), is looked at, and whether it has seen a convolution.

    Pooled maps are passed over: they say the same of fewer places.
    """
    layers = [layer for layer in model.layers if len(layer.output.shape) == 4]
    convolved = [layer.output.shape[1:3] for layer in layers if isinstance(layer, CONVOLUTIONS)]
    if not convolved:
        return layers[-1], False
    return [layer for layer in layers if layer.output.shape[1:3] == convolved[-1]][-1], True


def _gradients(
    model: keras.Model,
    layer: keras.layers.Layer,
    values: NDArray[np.floating],
    inputs: Mapping[str, NDArray[Any]],
    head: str,
    units: NDArray[np.integer],
) -> NDArray[np.floating]:
    """Return the derivative of unit `units` (N,) of `head`, before its softmax, by the `values` that `layer` puts out."""
    last = model.get_layer(head)
    beside = [name for name in inputs if name != FRAME_INPUT]
    rest = keras.Model([layer.output, *(model.input[name] for name in beside)], last.input)
    chosen = np.eye(last.units, dtype=np.float32)[units]
    given = [keras.ops.convert_to_tensor(inputs[name]) for name in beside]

    def score(x: Any) -> Any:
        # A softmax that is sure has no gradient left: what it is made of has.
        return keras.ops.sum((keras.ops.matmul(rest([x, *given]), last.kernel) + last.bias) * chosen, axis=1)

    return backend.gradient(score, values)
