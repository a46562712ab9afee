"""The Keras network of a plan: its layers, and its initial weights."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.train import Model
from xtcav_ml.learning import layer_plan
from xtcav_ml.learning.backend import keras
from xtcav_ml.learning.layer_plan import LayerSpec
from xtcav_ml.learning.normalization import Statistics, TrainingStatistics
from xtcav_ml.learning.random_streams import Purpose, generator, layer_seed


def build(layers: Sequence[LayerSpec], model: Model, statistics: TrainingStatistics, *, seed: int) -> keras.Model:
    """Return the network of a plan, with the same initial weights on every backend.

    Its input is a dict of `frame` (batch, rows, columns, 1), pixels as stored, and `features` (batch, F) in their own units,
    whichever there are; its output a dict of `output` (batch, classes), probabilities, and `numbers` (batch, V) in their own
    units, whichever are learned.
    """
    arguments = _arguments(model, statistics, seed)
    tensors: dict[str, keras.KerasTensor] = {}
    for spec in layers:
        options = {**arguments.get(spec.kind, dict)(), **spec.options, "name": spec.name}
        if spec.kind == "InputLayer":
            tensors[spec.name] = keras.Input(spec.shape, **options)
        else:
            sources = [tensors[name] for name in spec.inputs]
            tensors[spec.name] = _layer_class(spec.kind)(**options)(sources[0] if len(sources) == 1 else sources)
    inputs = {spec.name: tensors[spec.name] for spec in layers if spec.kind == "InputLayer"}
    heads = {layer_plan.CLASS_HEAD: layer_plan.CLASS_HEAD, layer_plan.NUMBER_HEAD: layer_plan.IN_UNITS}
    outputs = {head: tensors[name] for head, name in heads.items() if name in tensors}
    network = keras.Model(inputs, outputs, name=model.name)
    if layer_plan.FRAME_INPUT in inputs:
        _standardize(network.get_layer(layer_plan.STANDARDIZE), statistics.pixels)
    if layer_plan.FEATURES_INPUT in inputs:
        _standardize(network.get_layer(layer_plan.STANDARDIZE_FEATURES), statistics.features)
    _initialize(network, model, seed)
    return network


def _layer_class(kind: str) -> type[keras.layers.Layer]:
    if kind in (layer_plan.CONV_MAX_POOL, layer_plan.PIXEL_STATISTICS):
        from xtcav_ml.learning import fused_conv  # for TensorFlow only

        return getattr(fused_conv, kind)  # type: ignore[no-any-return]
    if kind not in layer_plan.LAYERS.split():
        raise ValueError(f"layers must be of layer_plan.LAYERS, got {kind}")
    layer_class: type[keras.layers.Layer] = getattr(keras.layers, kind)
    return layer_class


def _arguments(model: Model, statistics: TrainingStatistics, seed: int) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return the arguments of layers by kind, in addition to the options of the plan, which win.

    All layers share the same objects: Keras saves these by number, and others would change the bytes of a model file.
    """
    drawing, numbers = itertools.count(), statistics.numbers
    regularizer = keras.regularizers.L1L2(l1=model.l1, l2=model.l2) if model.l1 or model.l2 else None
    bias = keras.initializers.Constant(model.initial_bias)
    weights = {"kernel_regularizer": regularizer, "bias_initializer": bias}
    return {
        **dict.fromkeys((layer_plan.CONV, layer_plan.CONV_MAX_POOL, "Dense"), lambda: weights),
        **dict.fromkeys(("Dropout", "GaussianNoise"), lambda: {"seed": layer_seed(seed, next(drawing))}),
        "Rescaling": lambda: {"scale": numbers.sd.tolist(), "offset": numbers.mean.tolist()},
    }


def _standardize(layer: keras.layers.Normalization, statistics: Statistics) -> None:
    """Set the mean and the standard deviation of `layer`: both are weights of the model."""
    shape = layer.adapt_mean.shape
    layer.adapt_mean.assign(statistics.mean.reshape(shape))
    layer.adapt_variance.assign(np.square(statistics.sd).reshape(shape))
    layer.finalize_state()


def _initialize(network: keras.Model, model: Model, seed: int) -> None:
    """Draw the kernels with numpy: each backend's own generator draws other numbers."""
    for i, layer in enumerate(layer for layer in network.layers if hasattr(layer, "kernel")):
        rng, shape = generator(seed, Purpose.KERNEL, i), tuple(layer.kernel.shape)
        *sides, inputs, outputs = shape
        area = math.prod(sides)
        if model.initializer == "glorot":
            limit = math.sqrt(6 / (area * (inputs + outputs)))
            values = rng.uniform(-limit, limit, shape)
        else:
            he = math.sqrt(2 / (area * inputs)) / TRUNCATED_SD
            values = _truncated_normal(rng, shape) * (he if model.initializer == "he" else model.initial_sd)
        layer.kernel.assign(values.astype(np.float32))


TRUNCATED_SD = 0.87962566  # standard deviation of a normal distribution of s.d. 1 that ends at 2


def _truncated_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Draw from a normal distribution of s.d. 1; draw values beyond 2 again."""
    values = rng.normal(size=shape)
    while (beyond := np.abs(values) > 2).any():
        values[beyond] = rng.normal(size=int(beyond.sum()))
    return values
