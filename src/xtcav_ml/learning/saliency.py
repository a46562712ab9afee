"""Saliency maps: where in a frame the evidence for an output of the network lies."""

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
    """Return for each shot the evidence for unit `units` (N,) of layer `head`, 0 to 1, as (N, rows, columns) over the frame.

    `inputs` are the network's, pixels as stored. Grad-CAM, R. R. Selvaraju et al., Proc. ICCV (2017) 618, of the last layer
    with the size of the last convolution; its rows and columns cover the frame. Without a convolution the magnitude of the
    gradient at the pixels: K. Simonyan et al., arXiv:1312.6034. A map is zero where there is no evidence for the unit.
    """
    layer, is_convolved = _last_map(model)
    output = keras.Model(model.input, layer.output)(dict(inputs), training=False)
    values = keras.ops.convert_to_numpy(keras.ops.cast(output, "float32"))  # from any precision
    gradients = _gradients(model, layer, values, inputs, head, units)
    if is_convolved:
        weights = gradients.mean(axis=(1, 2), keepdims=True)
        evidence = np.maximum((weights * values).sum(axis=3), 0)
    else:
        evidence = np.abs(gradients).max(axis=3)
    largest = evidence.max(axis=(1, 2), keepdims=True)
    scaled: NDArray[np.float32] = np.divide(evidence, largest, out=np.zeros_like(evidence), where=largest > 0)
    return scaled


def _last_map(model: keras.Model) -> tuple[keras.layers.Layer, bool]:
    """Return the layer whose output, (N, rows, columns, channels), is mapped, and whether it follows a convolution.

    Pooled maps are skipped: they show the same at fewer pixels.
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
    """Return the derivative of unit `units` (N,) of `head`, before its softmax, by the output `values` of `layer`."""
    last = model.get_layer(head)
    names = [name for name in inputs if name != FRAME_INPUT]
    rest = keras.Model([layer.output, *(model.input[name] for name in names)], last.input)
    one_hot = np.eye(last.units, dtype=np.float32)[units]
    others = [keras.ops.convert_to_tensor(inputs[name]) for name in names]

    def score(x: Any) -> Any:  # before the softmax, whose gradient vanishes where it is sure
        return keras.ops.sum((keras.ops.matmul(rest([x, *others]), last.kernel) + last.bias) * one_hot, axis=1)

    return backend.gradient(score, values)
