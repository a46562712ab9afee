"""A trained network for one frame at a time, without Keras or TensorFlow: what predicts wherever a shot is waited for.

The network's layers are read from the model file. Each convolution and the max pooling after it are one job of `jobs`, as in
the training; dense layers are products in double precision, for what is left of a frame is small. A shot's numbers do not
depend on what comes with it, and are within some 2e-6 of Keras'. A network with another layer is left to Keras.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numba.core.errors import NumbaError
from numpy.typing import NDArray

from xtcav_ml.data import model_file
from xtcav_ml.learning import jobs, keras_config
from xtcav_ml.learning.conv_pool import Geometry
from xtcav_ml.learning.keras_config import StoredLayer
from xtcav_ml.learning.layer_plan import CLASS_HEAD, CONV, FEATURES_INPUT, FRAME_INPUT, NUMBER_HEAD, POOLS, Ends
from xtcav_ml.science import portable
from xtcav_ml.system.helpers import Helpers

Values = NDArray[Any]
Function = Callable[..., Values]

LEAST_SPREAD = np.float32(1e-7)  # Keras' least standard deviation

LEAST_SHARED = 2**24  # products of a convolution that is worth handing a part of to another thread, some 0.05 ms
BANDS = 2  # of a convolution for each thread: one that is late then costs little
MOST_NUMBERS, MOST_WEIGHTS = 2**25, 2**20
"""In memory for a convolution, and in a dense layer, which Keras reads once for many shots: more is left to it."""


class Unserved(Exception):
    """A network that is left to Keras."""


def read_network(parts: Mapping[str, bytes], ends: Ends) -> "FrameNetwork | None":
    """Return the network in the parts of a model file, or None if it is left to Keras, which may refuse it.

    Raises ValueError if its weights are not finite, or not plain arrays.
    """
    content = parts[model_file.WEIGHTS_ENTRY]
    count, config = model_file.weight_count(content), json.loads(parts[model_file.CONFIG_ENTRY])
    keras_config.require_known(config)
    try:
        layers = keras_config.layers_of(config, model_file.layer_weights(content))
        _require(sum(values.size for layer in layers for values in layer.weights) == count, "other weights")
        return FrameNetwork(layers, keras_config.outputs_of(config), ends)
    except (Unserved, LookupError, TypeError, ValueError, AttributeError, MemoryError, NumbaError):
        return None


@dataclass(frozen=True)
class Step:
    """One operation on the values of one shot."""

    name: str  # of its result
    inputs: Sequence[str]
    function: Function


class FrameNetwork:
    """The network of `layers`, of which `outputs` names those with the results. Raises Unserved if it cannot be computed here.

    What it was built from may come from anywhere: other errors of a network that does not fit together are Python's.
    """

    def __init__(self, layers: Sequence[StoredLayer], outputs: Mapping[str, str], ends: Ends) -> None:
        values = _inputs(layers, ends)
        joined = [layer for layer in _joined(layers) if layer.kind != "InputLayer"]
        _require(all(layer.kind in STEPS for layer in joined), "a layer of another kind")
        self._steps, self._outputs = list[Step](), dict(outputs)
        for layer in joined:
            given = [values[name] for name in layer.inputs]
            function = STEPS[layer.kind](layer, *given)
            self._steps.append(Step(layer.name, layer.inputs, function))
            values[layer.name] = function(*given)
        sizes = {CLASS_HEAD: ends.classes, NUMBER_HEAD: ends.numbers}
        found = {head: values[name].shape for head, name in self._outputs.items()}
        _require(found == {head: (size,) for head, size in sizes.items() if size}, "other outputs")

    def __call__(
        self, frame: Values, features: Values, helpers: Helpers | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Return the outputs, (classes,) or (numbers,), for a prepared frame (rows, columns) and features (F,).

        The bits do not depend on whether `helpers` do parts of large convolutions.
        """
        values = {FRAME_INPUT: frame, FEATURES_INPUT: features}
        for step in self._steps:
            given = [values[name] for name in step.inputs]
            shared = helpers and isinstance(step.function, _Convolution)
            values[step.name] = step.function(*given, helpers) if shared else step.function(*given)
        return {head: values[name].astype(np.float32) for head, name in self._outputs.items()}


def _inputs(layers: Sequence[StoredLayer], ends: Ends) -> dict[str, Values]:
    """Return zeros for each input."""
    frame = ([None, *ends.frame_shape, 1], ends.frame_dtype)
    expected = {FRAME_INPUT: frame, FEATURES_INPUT: ([None, ends.features], "float32")}
    if not ends.features:
        del expected[FEATURES_INPUT]
    found = {x.name: (x.options["batch_shape"], x.options["dtype"]) for x in layers if x.kind == "InputLayer"}
    _require(found == expected, "other inputs")
    return {
        FRAME_INPUT: np.zeros(ends.frame_shape, ends.frame_dtype),
        FEATURES_INPUT: np.zeros(ends.features, np.float32),
    }


def _joined(layers: Sequence[StoredLayer]) -> list[StoredLayer]:
    """Return layers without those that only train, with batch normalization and max pooling joined to what is before them."""
    done, renamed = list[StoredLayer](), dict[str, str]()
    for each in layers:
        layer = replace(each, inputs=tuple(renamed.get(name, name) for name in each.inputs))
        if layer.kind in ("Dropout", "GaussianNoise"):
            renamed[layer.name] = layer.inputs[0]
        elif layer.kind == "BatchNormalization":
            done[-1] = _normalized(done[-1], layer)
        elif layer.kind == POOLS["max"]:
            done[-2:] = _pooled(done[-2], done[-1], layer)
        else:
            done.append(layer)
    return done


def _normalized(layer: StoredLayer, norm: StoredLayer) -> StoredLayer:
    """Return a convolution or dense layer with the batch normalization after it, of which only factors are left."""
    linear = layer.kind == CONV or (layer.kind == "Dense" and layer.options["activation"] == "linear")
    _require(linear and norm.inputs == (layer.name,), "batch normalization elsewhere")
    gamma, beta, mean, variance = (values.astype(np.float64) for values in norm.weights)
    factor = gamma / np.sqrt(variance + norm.options["epsilon"])
    kernel, bias = layer.weights
    return replace(layer, name=norm.name, weights=(kernel * factor, (bias - mean) * factor + beta))


def _pooled(convolution: StoredLayer, activation: StoredLayer, pooling: StoredLayer) -> list[StoredLayer]:
    """Return both in the other order: a monotonic activation keeps the order of values."""
    fits = convolution.kind == CONV and activation.kind == "Activation"
    chained = (activation.inputs, pooling.inputs) == ((convolution.name,), (activation.name,))
    _require(fits and chained and activation.options["activation"] in MONOTONIC, "max pooling elsewhere")
    options = {f"pool_{name}": value for name, value in pooling.options.items()}
    return [replace(convolution, options={**convolution.options, **options}), replace(activation, name=pooling.name)]


def _relu(values: Values) -> Values:
    return np.maximum(values, 0)


def _silu(values: Values) -> Values:
    return np.asarray(values / (1 + portable.exp(-values)))


def _softmax(values: Values) -> Values:
    powers = portable.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


ACTIVATIONS: Mapping[str, Function] = {"linear": np.asarray, "relu": _relu, "tanh": np.tanh, "silu": _silu}
MONOTONIC = {"relu", "tanh"}


def _standardize(layer: StoredLayer, values: Values) -> Function:
    mean, variance = layer.weights[:2]
    _require(mean.shape in ((), values.shape) and mean.shape == variance.shape, "statistics of another shape")
    spread = np.maximum(np.sqrt(variance), LEAST_SPREAD)

    def standardize(values: Values) -> Values:
        centred: Values = np.subtract(values, mean, dtype=np.float32)
        centred /= spread
        return centred

    return standardize


def _rescale(layer: StoredLayer, values: Values) -> Function:
    scale, offset = (np.array(layer.options[name], np.float64) for name in ("scale", "offset"))
    _require({scale.shape, offset.shape} <= {(), values.shape}, "a scale of another shape")
    return lambda values: values * scale + offset


def _activate(layer: StoredLayer, values: Values) -> Function:
    return ACTIVATIONS[layer.options["activation"]]


def _multiply(layer: StoredLayer, values: Values) -> Function:
    kernel, bias = (each.astype(np.float64) for each in layer.weights)
    _require(kernel.ndim == 2 and bias.shape == kernel.shape[1:] == (layer.options["units"],), "other weights")
    _require(kernel.size <= MOST_WEIGHTS, "many weights")
    activation = {**ACTIVATIONS, "softmax": _softmax}[layer.options["activation"]]
    return lambda values: activation(values.astype(np.float64) @ kernel + bias)


def _average(layer: StoredLayer, values: Values) -> Function:
    """Return the function that averages blocks of pixels, as `block_mean` does; another average pooling is left to Keras."""
    given = [layer.options[name] for name in ("pool_size", "strides")]
    sizes = [[each] * 2 if isinstance(each, int) else list(each) for each in given]
    _require(layer.options["padding"] == "valid" and sizes[0] == sizes[1], "another average pooling")
    (rows, columns), shape = sizes[0], values.shape
    _require(min(rows, columns) > 0 and shape[0] >= rows and shape[1] >= columns, "blocks beyond their map")
    kept = (shape[0] // rows, rows, shape[1] // columns, columns)

    def average(values: Values) -> Values:
        whole = values[: kept[0] * rows, : kept[2] * columns]
        return np.asarray(whole.reshape(*kept, *shape[2:]).mean(axis=(1, 3), dtype=np.float32))

    return average


def _flatten(layer: StoredLayer, values: Values) -> Function:
    return np.ravel


def _join(layer: StoredLayer, *values: Values) -> Function:
    return lambda *values: np.concatenate(values)


_UNCHANGED = np.array([0, 1], np.float32)  # the frames are standardized already


class _Convolution:
    """A convolution with the max pooling that `_pooled` may have joined to it, for values of one shape."""

    def __init__(self, layer: StoredLayer, values: Values) -> None:
        self._kernel, self._bias = (np.ascontiguousarray(each, np.float32) for each in layer.weights)
        self._shape = values.shape if values.ndim == 3 else (*values.shape, 1)
        sizes, filters = _geometry(layer, self._shape), layer.options["filters"]
        _require(self._kernel.shape == (*layer.options["kernel_size"], self._shape[2], filters), "another kernel")
        _require(self._bias.shape == (filters,), "another bias")
        self._pooled = (sizes.pooled_rows, sizes.pooled_columns, filters)
        self._worker, self._job = jobs.worker(), np.zeros(1, jobs.JOB)
        settings = {"operation": jobs.POOL_ALONE, "version": self._worker.version, "shots": 1}
        settings["statistics"] = _UNCHANGED.ctypes.data
        for name, value in {**sizes._asdict(), **settings, "kernel": self._kernel.ctypes.data}.items():
            self._job[name] = value
        self._most_bands = sizes.pooled_rows if sizes.rows * sizes.columns * self._kernel.size >= LEAST_SHARED else 1

    def __call__(self, values: Values, helpers: Helpers | None = None) -> Values:
        """Return the maxima (rows, columns, channels), of which `helpers` do bands of rows. Raises MemoryError."""
        frame = np.ascontiguousarray(values.reshape(self._shape), np.float32)
        best, places = np.empty(self._pooled, np.float32), np.empty(self._pooled, np.int32)
        arrays = frame, best, places
        bands = 1 if helpers is None else min(BANDS * helpers.threads, self._most_bands)
        job = np.repeat(self._job, bands)
        job["frames"], job["out"], job["places"] = (each.ctypes.data for each in arrays)
        job["threads"], job["first"], job["last"] = bands, np.arange(bands), np.arange(bands) + 1

        def do(band: int, kept: object = arrays) -> None:  # a thread that is still at it keeps the arrays alive
            self._worker.run(job.ctypes.data + band * jobs.JOB.itemsize)

        if helpers is None or bands == 1:
            do(0)
        else:
            helpers.share(do, bands)
        if not job["done"].all():
            raise MemoryError("too little memory is free for a convolution")
        best += self._bias
        return best


def _geometry(layer: StoredLayer, shape: tuple[int, ...]) -> Geometry:
    """Return the sizes of a convolution, and of a pooling of single pixels where there is none."""
    defaults = {"pool_pool_size": [1, 1], "pool_strides": [1, 1], "pool_padding": "same"}
    kernel, strides, padding, window, steps, pool_padding = (
        {**defaults, **layer.options}[name]
        for name in ("kernel_size", "strides", "padding", "pool_pool_size", "pool_strides", "pool_padding")
    )
    _require({padding, pool_padding} <= {"same", "valid"}, "another padding")
    sizes = [*kernel, *strides, *window, *steps, layer.options["filters"]]
    _require(all(type(size) is int and size > 0 for size in sizes), "sizes that are none")
    _require(all(s <= k for s, k in zip(strides, kernel, strict=True)), "pixels that are left out")
    found = Geometry.of(shape, layer.options["filters"], kernel, strides, window, steps, padding, pool_padding)
    reach = zip((*kernel, *window), (*shape[:2], found.rows, found.columns), strict=True)
    _require(all(size <= 2 * max(length, 0) - 1 for size, length in reach), "a window beyond its map")
    _require(min(found.pooled_rows, found.pooled_columns) > 0, "maps without a pixel")
    windows = -(-found.window_rows // found.step_rows) * found.columns + found.pooled_rows * found.pooled_columns
    _require(2 * windows * found.channels + prod(shape) <= MOST_NUMBERS, "large maps")
    return found


def _require(fits: bool, problem: str) -> None:
    if not fits:
        raise Unserved(problem)


STEPS: Mapping[str, Callable[..., Function]] = {
    "Normalization": _standardize,
    "Rescaling": _rescale,
    "Activation": _activate,
    "Dense": _multiply,
    "AveragePooling2D": _average,
    "Flatten": _flatten,
    "Concatenate": _join,
    CONV: _Convolution,
}
"""By the kind of a layer what returns its function, from the layer and values of the shapes that it is given."""
