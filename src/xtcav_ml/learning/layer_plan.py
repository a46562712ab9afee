"""The plan of a network: all its layers, each with its shape, parameters and operations; needs no Keras.

To add a network, write a function like `convnet` and enter it in NETWORKS, or one like `perceptron`, for shots without frames,
in FEATURE_NETWORKS. Its Keras layers (`networks.build`) and all sizes (`xtcav check`, `describe` and the tuner's memory limit)
follow from the plan that it returns.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, prod
from typing import Any, Self

from xtcav_ml.config.schema import NO_FRAME
from xtcav_ml.config.train import Model
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system.errors import UserError

FRAME_INPUT, FEATURES_INPUT = "frame", "features"  # names of a network's inputs

CLASS_HEAD, NUMBER_HEAD = "output", "numbers"
"""Names of a network's outputs, and of the last layers with weights: class probabilities, and numbers by regression."""

STANDARDIZE, STANDARDIZE_FEATURES, IN_UNITS = "standardize", "standardize_features", "in_units"
"""Names of the layers that hold statistics of the training set."""

COARSEN = "coarsen"  # name of the layer that averages blocks of pixels

CONV, CONV_MAX_POOL, PIXEL_STATISTICS = "Conv2D", "ConvMaxPool", "PixelStatistics"

MOST_TAPS = 400  # pixels under a kernel whose products in pairs CONV_MAX_POOL sums, for a batch normalization
FUSED_PIXELS = {"int16": 2, "float32": 4}  # types of stored pixels that CONV_MAX_POOL reads, and their bytes

LAYERS = (
    "InputLayer Normalization Rescaling GaussianNoise Conv2D Conv2DTranspose DepthwiseConv2D SeparableConv2D Dense "
    "MaxPooling2D AveragePooling2D GlobalMaxPooling2D GlobalAveragePooling2D ZeroPadding2D Cropping2D UpSampling2D "
    "Activation ReLU LeakyReLU PReLU ELU Softmax BatchNormalization LayerNormalization GroupNormalization "
    "Dropout SpatialDropout2D GaussianDropout Flatten Reshape Permute RepeatVector "
    "Concatenate Add Subtract Multiply Average Maximum Minimum Dot"
)
"""Classes of keras.layers that a network may have; a model file with another one is refused, as it might run code."""

FLOAT32 = 4  # bytes
STEP, FUSED_STEP = 48 * 2**20, 76 * 2**20
"""Bytes that TensorFlow needs to build any training step, without and with the fused first layer; measured."""

PIXEL_BYTES = 12
"""Bytes of all copies of a pixel of a minibatch: as stored while minibatches are read, as a float in the one that trains.

With PIXEL_STATISTICS there are two as stored, in the minibatch that trains and in the next one.
"""

LIBRARY_BYTES = 700 * 2**20  # bytes of a process with Keras and TensorFlow and no network; measured


@dataclass(frozen=True)
class Ends:
    """The sizes of a network's inputs and outputs."""

    frame_shape: tuple[int, int]  # rows and columns of a prepared frame; NO_FRAME without one
    frame_dtype: str  # of its pixels, as stored
    features: int  # numbers in addition to the frame
    classes: int  # probabilities; 0 where no classes are learned
    numbers: int  # learned by regression

    @classmethod
    def of(cls, spec: LearningSpec) -> Self:
        """Return the ends of a network that learns the classes and numbers of `spec`."""
        frame, numbers = spec.preprocessing, len(spec.regression)
        return cls(frame.shape, frame.pixels.dtype, len(spec.features), len(spec.classes), numbers)


@dataclass(frozen=True)
class LayerSpec:
    """One layer: a class of keras.layers (or CONV_MAX_POOL or PIXEL_STATISTICS), its arguments, and its size for one shot."""

    kind: str
    name: str  # in the model; no two layers share one
    inputs: tuple[str, ...]  # names of the layers before it
    shape: tuple[int, ...]  # of its output: (rows, columns, channels) or (units,)
    parameters: int = 0  # trainable numbers
    operations: int = 0  # multiplications and additions, or comparisons, forward; 0 where they do not count
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def memory(self) -> int:
        """Return the bytes of its output for one shot, float32."""
        return FLOAT32 * prod(self.shape)


Plan = list[LayerSpec]  # layers in order, each after its inputs


def plan_layers(model: Model, ends: Ends, *, noise: float = 0.0) -> Plan:
    """Return the layers of the network `model.name` between `ends`: inputs, standardization, the network itself, heads.

    Training adds `noise` to standardized pixels. Raises UserError with the key if there is no such network for these inputs, or
    if a part of a kernel or of a pooling window never meets a pixel of its map.
    """
    _require_known(model.name, ends)
    features = _features(ends)
    if ends.frame_shape == NO_FRAME:
        if model.coarsen > 1:
            raise UserError(
                f"train.model.coarsen: no frames (found {model.coarsen}, expected 1 as data.frame_shape is null). Fix: set it "
                "to 1"
            )
        layers = [*features, *FEATURE_NETWORKS[model.name](model, features[-1])]
        return [*layers, *_heads(layers[-1], ends)]
    frame = _frame(model, ends, noise)
    network = NETWORKS[model.name](model, frame[-1], features[-1] if features else None)
    return [*frame, *features, *network, *_heads(network[-1], ends)]


def _require_known(name: str, ends: Ends) -> None:
    """Raise UserError unless there is a network of this name for the inputs of `ends`."""
    fitting, others = (NETWORKS, FEATURE_NETWORKS) if ends.frame_shape != NO_FRAME else (FEATURE_NETWORKS, NETWORKS)
    if name in fitting:
        return
    near = (difflib.get_close_matches(name, fitting, 1) or list(fitting))[0]
    if name in others:
        kind, state = ("with", "is null") if others is NETWORKS else ("without", "is not null")
        raise UserError(
            f"train.model.name: a network for shots {kind} frames (found {name!r}, expected {' or '.join(fitting)} as "
            f"data.frame_shape {state}). Fix: set it to {near}"
        )
    raise UserError(
        f"train.model.name: unknown network (found {name!r}, expected {' or '.join(fitting)}). Fix: set it to {near}"
    )


def _frame(model: Model, ends: Ends, noise: float) -> Plan:
    """Return the layers up to the standardized frame, with coarser pixels if that is wanted."""
    axis = (1, 2) if model.standardize == "pixel" else None
    shape, options = (*ends.frame_shape, 1), {"dtype": ends.frame_dtype}
    frame = [LayerSpec("InputLayer", FRAME_INPUT, (), shape, options=options)]
    frame.append(same_shape("Normalization", frame[-1], STANDARDIZE, axis=axis))
    if noise:
        frame.append(same_shape("GaussianNoise", frame[-1], "noise", stddev=noise))
    if model.coarsen > 1:
        frame.append(_coarse(frame[-1], model.coarsen))
    return frame


def _coarse(frame: LayerSpec, size: int) -> LayerSpec:
    """Return the layer that averages blocks of size x size pixels; those left over at the far edges are dropped."""
    rows, columns, channels = frame.shape
    shape = (rows // size, columns // size, channels)
    if min(shape) < 1:
        raise UserError(
            f"train.model.coarsen: larger than a prepared frame of {rows} x {columns} (found {size}, expected at most "
            f"{min(rows, columns)}). Fix: lower it"
        )
    options = {"pool_size": size, "strides": size, "padding": "valid"}
    return LayerSpec(POOLS["average"], COARSEN, (frame.name,), shape, operations=size**2 * prod(shape), options=options)


def _features(ends: Ends) -> Plan:
    """Return the layers up to the standardized features, if there are any."""
    features: Plan = []
    if ends.features:
        features.append(LayerSpec("InputLayer", FEATURES_INPUT, (), (ends.features,)))
        features.append(same_shape("Normalization", features[-1], STANDARDIZE_FEATURES, axis=(1,)))
    return features


def _heads(last: LayerSpec, ends: Ends) -> Plan:
    """Return the output layers, in float32 for the losses, whatever the precision of the network."""
    options = {"dtype": "float32", "bias_initializer": "zeros"}
    heads: Plan = []
    if ends.classes:
        heads.append(dense(last, CLASS_HEAD, ends.classes, activation="softmax", **options))
    if ends.numbers:
        heads.append(dense(last, NUMBER_HEAD, ends.numbers, **options))
        heads.append(same_shape("Rescaling", heads[-1], IN_UNITS, dtype="float32"))
    return heads


def convnet(model: Model, frame: LayerSpec, features: LayerSpec | None) -> Plan:
    """Return the notes' kind of network: blocks of convolution and pooling, joined by the features, then hidden layers."""
    if not model.blocks:
        raise UserError(
            "train.model.blocks: no convolution (found [], expected at least one for convnet). Fix: add one"
        )
    layers = [frame]
    for i, block in enumerate(model.blocks):
        name, key = f"conv{i + 1}", f"train.model.blocks.{i}"
        layers.append(conv(layers[-1], name, block.channels, block.kernel, block.stride, f"{key}.kernel"))
        layers += activated(layers[-1], name, block.activation, batch_norm=block.batch_norm)
        if block.pool != "none":
            size, key = (block.pool_window, block.pool_stride), f"{key}.pool_window"
            layers.append(pool(layers[-1], f"pool{i + 1}", POOLS[block.pool], *size, key))
        layers += dropout(layers[-1], name, block.dropout)
    layers.append(flatten_features(layers[-1]))
    if features is not None:
        layers.append(join(layers[-1], features))
    return [*layers[1:], *hidden(model, layers[-1])]


def perceptron(model: Model, features: LayerSpec) -> Plan:
    """Return the hidden layers on the features alone; without any, the outputs are linear in these."""
    if model.blocks:
        raise UserError(
            f"train.model.blocks: convolutions need frames (found {len(model.blocks)}, expected [] for perceptron). Fix: set "
            "it to []"
        )
    return hidden(model, features)


def hidden(model: Model, source: LayerSpec) -> Plan:
    """Return the hidden layers after one of shape (units,)."""
    layers = [source]
    for i, units in enumerate(model.hidden, start=1):
        layers.append(dense(layers[-1], f"hidden{i}", units))
        layers += activated(layers[-1], f"hidden{i}", model.hidden_activation, batch_norm=model.hidden_batch_norm)
        layers += dropout(layers[-1], f"hidden{i}", model.hidden_dropout)
    return layers[1:]


NETWORKS: dict[str, Callable[[Model, LayerSpec, LayerSpec | None], Plan]] = {"convnet": convnet}
"""The networks by `train.model.name`.

Each takes the parameters, the layer with the standardized frame and the one with the standardized features, if there are any,
and returns its layers up to the input (units,) of the heads.
"""

FEATURE_NETWORKS: dict[str, Callable[[Model, LayerSpec], Plan]] = {"perceptron": perceptron}
"""The same of networks for shots without frames, which take the parameters and the layer with the standardized features."""

POOLS = {"max": "MaxPooling2D", "average": "AveragePooling2D"}


def same_shape(kind: str, source: LayerSpec, name: str, **options: Any) -> LayerSpec:
    """Return a layer that keeps the shape, and whose parameters and operations do not count."""
    return LayerSpec(kind, name, (source.name,), source.shape, options=options)


def conv(source: LayerSpec, name: str, channels: int, kernel: int, stride: int, key: str) -> LayerSpec:
    """Return a convolution with a square kernel and `same` padding; `key` is the parameter of its size."""
    rows, columns, before = source.shape
    _require_fits(key, kernel, rows, columns)
    parameters = (kernel**2 * before + 1) * channels
    shape = (ceil(rows / stride), ceil(columns / stride), channels)
    options = {"filters": channels, "kernel_size": kernel, "strides": stride, "padding": "same"}
    return LayerSpec(CONV, name, (source.name,), shape, parameters, 2 * parameters * prod(shape[:2]), options)


def pool(source: LayerSpec, name: str, kind: str, window: int, stride: int, key: str) -> LayerSpec:
    """Return a pooling with a square window and `same` padding; `key` is the parameter of its size."""
    rows, columns, channels = source.shape
    _require_fits(key, window, rows, columns)
    shape = (ceil(rows / stride), ceil(columns / stride), channels)
    options = {"pool_size": window, "strides": stride, "padding": "same"}
    return LayerSpec(kind, name, (source.name,), shape, operations=window**2 * prod(shape), options=options)


def dense(source: LayerSpec, name: str, units: int, **options: Any) -> LayerSpec:
    """Return a fully connected layer after one of shape (units,)."""
    (before,) = source.shape
    parameters = (before + 1) * units
    return LayerSpec("Dense", name, (source.name,), (units,), parameters, 2 * parameters, {"units": units, **options})


def activated(source: LayerSpec, name: str, activation: str, *, batch_norm: bool) -> Plan:
    """Return the layers `norm_NAME`, with `batch_norm`, and `ACTIVATION_NAME`."""
    norm = same_shape("BatchNormalization", source, f"norm_{name}")
    norm = replace(norm, parameters=2 * source.shape[-1], operations=2 * prod(source.shape))
    last = same_shape("Activation", norm if batch_norm else source, f"{activation}_{name}", activation=activation)
    return [norm, last] if batch_norm else [last]


def dropout(source: LayerSpec, name: str, rate: float) -> Plan:
    """Return the layer `drop_NAME`, or none where `rate` is 0."""
    return [same_shape("Dropout", source, f"drop_{name}", rate=rate)] if rate else []


def flatten_features(source: LayerSpec) -> LayerSpec:
    """Return the layer that flattens a map."""
    return LayerSpec("Flatten", "flatten", (source.name,), (prod(source.shape),))


def join(source: LayerSpec, features: LayerSpec) -> LayerSpec:
    """Return the layer that appends features to a flat layer."""
    return LayerSpec("Concatenate", "join", (source.name, features.name), (source.shape[0] + features.shape[0],))


def fused(layers: Plan, precision: str) -> Plan:
    """Return the layers with the first convolution and its max pooling as one layer, or `layers` where that is impossible.

    It standardizes the pixels too where these are FUSED_PIXELS and two numbers do for all. A batch normalization and an
    activation may be between both, which must be monotonic, so that it can follow the pooling; no other layer may need the full
    map.
    """
    block = _first_block(layers)
    if not block or precision != "float32":
        return layers
    convolution, *norm, activation, pooling = block
    options = {"pool_window": pooling.options["pool_size"], "pool_stride": pooling.options["strides"]}
    if norm:
        options["normalized"] = True
    one = replace(
        convolution,
        kind=CONV_MAX_POOL,
        shape=pooling.shape,
        parameters=sum(layer.parameters for layer in block),
        operations=sum(layer.operations for layer in block),
        options={**convolution.options, **options},
    )
    (source,), start = convolution.inputs, layers.index(convolution)
    before, rest = layers[:start], layers[start + len(block) :]
    if _by_two_numbers(layers, source) and not any(source in layer.inputs for layer in rest):
        before = [replace(layer, kind=PIXEL_STATISTICS) if layer.name == source else layer for layer in before]
    renamed = {pooling.name: activation.name}
    after = [replace(layer, inputs=tuple(renamed.get(name, name) for name in layer.inputs)) for layer in rest]
    return [*before, one, replace(activation, inputs=(one.name,), shape=pooling.shape), *after]


def _first_block(layers: Plan) -> Plan:
    """Return the layers that one CONV_MAX_POOL can stand for, from the first convolution to its pooling, or none."""
    start = next((i for i, layer in enumerate(layers) if layer.kind == CONV), len(layers))
    kinds = [layer.kind for layer in layers[start : start + 4]]
    norm = kinds[1:2] == ["BatchNormalization"]
    end = start + (4 if norm else 3)
    block, rest = layers[start:end], layers[end:]
    if kinds[: end - start] != [CONV, *["BatchNormalization"] * norm, "Activation", POOLS["max"]]:
        return []
    options, activation = block[0].options, block[-2].options["activation"]
    served = activation in ("relu", "tanh") and block[0].inputs[0] in (STANDARDIZE, "noise", COARSEN)
    if norm:
        served = served and options["strides"] == 1 and options["kernel_size"] ** 2 <= MOST_TAPS
    chained = [layer.inputs for layer in block[1:]] == [(layer.name,) for layer in block[:-1]]
    inner = {layer.name for layer in block[:-1]}
    alone = not any(inner & set(layer.inputs) for layer in rest)
    return block if served and chained and alone else []


def _by_two_numbers(layers: Plan, name: str) -> bool:
    """Return whether the layer `name` standardizes all pixels of a frame alike, of a type that CONV_MAX_POOL reads."""
    found = {layer.name: layer for layer in layers}
    layer, dtype = found[name], found[FRAME_INPUT].options["dtype"]
    return layer.kind == "Normalization" and layer.options["axis"] is None and dtype in FUSED_PIXELS


def counted(layers: Sequence[LayerSpec]) -> Plan:
    """Return the layers whose operations count: the rows of a table of sizes, whose maps a training step keeps."""
    return [layer for layer in layers if layer.operations]


def parameter_count(layers: Sequence[LayerSpec]) -> int:
    """Return the number of trainable numbers."""
    return sum(layer.parameters for layer in layers)


def step_memory(layers: Sequence[LayerSpec], batch_size: int) -> int:
    """Estimate the bytes of one training step: frames of this and the next one, maps, parameters.

    Each map has a gradient; each parameter a gradient, a velocity and an update. Within 25 % of the 15 configurations of the
    2016 notes (`xtcav experiment memory`) with `fused` layers, as on a CPU.
    """
    kinds = {layer.kind for layer in layers}
    build = FUSED_STEP if CONV_MAX_POOL in kinds else STEP
    frames = sum(_copies(layer, PIXEL_STATISTICS in kinds) for layer in layers if layer.name == FRAME_INPUT)
    maps = sum(prod(layer.shape) for layer in counted(layers))
    return build + batch_size * frames + FLOAT32 * (2 * batch_size * maps + 4 * parameter_count(layers))


def _copies(frame: LayerSpec, as_stored: bool) -> int:
    """Return the bytes of all copies of a frame: of two, or the PIXEL_BYTES of each pixel."""
    return prod(frame.shape) * (2 * FUSED_PIXELS[frame.options["dtype"]] if as_stored else PIXEL_BYTES)


def _require_fits(key: str, size: int, rows: int, columns: int) -> None:
    """Padding lets a window be larger than its map (the notes' are, on 40 x 40 pixels) until its edge meets no pixel."""
    limit = 2 * min(rows, columns) - 1
    if size > limit:
        raise UserError(
            f"{key}: too large for its input map of {rows} x {columns} (found {size}, expected at most {limit}). Fix: lower "
            "it, or shrink the map less before it"
        )
