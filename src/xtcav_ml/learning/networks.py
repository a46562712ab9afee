"""Keras networks by name, and the file that holds one."""

import contextlib
import io
import math
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.train import Model
from xtcav_ml.learning.backend import keras
from xtcav_ml.learning.layer_sizes import CLASSES, NUMBERS, Ends
from xtcav_ml.science.images import Dark
from xtcav_ml.science.spec import Meaning
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import DISK_FULL, UserError

FRAME, FEATURES = "frame", "features"
"""Names of a network's inputs."""

FIXED_DATE = (1980, 1, 1, 0, 0, 0)
"""Date of every entry of a model file (the first that a zip can hold), so that equal models are equal bytes."""


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation over the training set, of one number or of an array of them."""

    mean: NDArray[np.float32]
    sd: NDArray[np.float32]


@dataclass(frozen=True)
class Scales:
    """What the training set says of pixels as stored, () or (rows, columns), of features (F,) and numbers to learn (V,)."""

    pixels: Scale
    features: Scale
    numbers: Scale


FirstLayer = Callable[..., keras.layers.Layer]
"""Makes, from a block and what a convolution takes, a layer in place of the block's convolution and pooling."""

MEANING, DARK = "xtcav.json", "xtcav_dark.npy"
"""Our parts of a model file: what it means, and the dark frame (mean and noise, rows, columns)."""


def convnet(
    model: Model,
    ends: Ends,
    scales: Scales,
    *,
    seed: int,
    noise: float = 0.0,
    first_layer: FirstLayer | None = None,
) -> keras.Model:
    """Return the notes' kind of network: blocks of convolution and pooling, hidden layers, a head for each thing learned.

    Takes a dict of `frame` (batch, rows, columns, 1), prepared, pixels as stored, and, where there are any, `features`
    (batch, F) in their own units, which join before the hidden layers. Returns a dict of `output` (batch, classes),
    probabilities, and `numbers` (batch, V) in their own units, whichever are learned.

    The same initial weights on every backend. In training, `noise` is added to standardized pixels. With `first_layer` that
    makes the first block's convolution and pooling, with the same weights as the stock layers.
    """
    seeds = iter(range(seed, seed + 1000))
    kernels = {
        "kernel_regularizer": keras.regularizers.L1L2(l1=model.l1, l2=model.l2) if model.l1 or model.l2 else None
    }

    def finished(x: keras.KerasTensor, name: str, normalize: bool, activation: str) -> keras.KerasTensor:
        if normalize:
            x = keras.layers.BatchNormalization(name=f"norm_{name}")(x)
        return keras.layers.Activation(activation, name=f"{activation}_{name}")(x)

    def dropped(x: keras.KerasTensor, name: str, part: float) -> keras.KerasTensor:
        return keras.layers.Dropout(part, seed=next(seeds), name=f"drop_{name}")(x) if part else x

    bias = keras.initializers.Constant(model.initial_bias)
    inputs = {FRAME: keras.Input((*ends.frame_shape, 1), name=FRAME, dtype=ends.frame_dtype)}
    x = _standardized(inputs[FRAME], scales.pixels, "standardize")
    if noise:
        x = keras.layers.GaussianNoise(noise, seed=next(seeds), name="noise")(x)
    pooling = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}
    for i, block in enumerate(model.blocks, start=1):
        name = f"conv{i}"
        if i == 1 and first_layer is not None:
            x = first_layer(block, name=name, bias_initializer=bias, **kernels)(x)
            x = finished(x, name, False, block.activation)
        else:
            x = keras.layers.Conv2D(
                block.channels, block.kernel, block.stride, "same", name=name, bias_initializer=bias, **kernels
            )(x)
            x = finished(x, name, block.batch_norm, block.activation)
            if block.pool != "none":
                x = pooling[block.pool](block.pool_window, block.pool_stride, "same", name=f"pool{i}")(x)
        x = dropped(x, name, block.dropout)
    x = keras.layers.Flatten(name="flatten")(x)
    if ends.features:
        inputs[FEATURES] = keras.Input((ends.features,), name=FEATURES)
        x = keras.layers.Concatenate(name="join")(
            [x, _standardized(inputs[FEATURES], scales.features, "standardize_features")]
        )
    for i, units in enumerate(model.hidden, start=1):
        x = keras.layers.Dense(units, name=f"hidden{i}", bias_initializer=bias, **kernels)(x)
        x = finished(x, f"hidden{i}", model.hidden_batch_norm, model.hidden_activation)
        x = dropped(x, f"hidden{i}", model.hidden_dropout)
    outputs = {}
    whole = {"dtype": "float32"}  # of a network in mixed precision, the losses are computed from these
    if ends.classes:
        outputs[CLASSES] = keras.layers.Dense(ends.classes, activation="softmax", name=CLASSES, **kernels, **whole)(x)
    if ends.numbers:
        x = keras.layers.Dense(ends.numbers, name=NUMBERS, **kernels, **whole)(x)
        outputs[NUMBERS] = keras.layers.Rescaling(
            scales.numbers.sd.tolist(), scales.numbers.mean.tolist(), name="in_units", **whole
        )(x)
    network = keras.Model(inputs, outputs, name=model.name)
    _initialize(network, model, seed)
    return network


def _initialize(network: keras.Model, model: Model, seed: int) -> None:
    """Draw the kernels with numpy: each backend has a generator of its own, and other numbers."""
    for i, layer in enumerate(layer for layer in network.layers if hasattr(layer, "kernel")):
        rng, shape = np.random.default_rng([seed, i]), tuple(layer.kernel.shape)
        *places, inputs, outputs = shape
        area = math.prod(places)
        if model.initializer == "glorot":
            limit = math.sqrt(6 / (area * (inputs + outputs)))
            values = rng.uniform(-limit, limit, shape)
        else:
            he = math.sqrt(2 / (area * inputs)) / TRUNCATED_SD
            values = _truncated_normal(rng, shape) * (he if model.initializer == "he" else model.initial_sd)
        layer.kernel.assign(values.astype(np.float32))


TRUNCATED_SD = 0.87962566
"""Standard deviation of a normal distribution of s.d. 1 that ends at 2."""


def _truncated_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Draw from a normal distribution of s.d. 1 that ends at 2: what lies beyond is drawn again."""
    values = rng.normal(size=shape)
    while (beyond := np.abs(values) > 2).any():
        values[beyond] = rng.normal(size=int(beyond.sum()))
    return values


def _standardized(x: keras.KerasTensor, scale: Scale, name: str) -> keras.KerasTensor:
    """Return `x` less the mean, over the standard deviation: numbers of the training set, which the model keeps as weights."""
    axes = tuple(range(1, 1 + scale.mean.ndim)) or None
    layer = keras.layers.Normalization(axis=axes, name=name)
    y = layer(x)
    shape = layer.adapt_mean.shape
    layer.adapt_mean.assign(scale.mean.reshape(shape))
    layer.adapt_variance.assign(np.square(scale.sd).reshape(shape))
    layer.finalize_state()
    return y


NETWORKS: dict[str, Callable[..., keras.Model]] = {"convnet": convnet}
"""The networks that `train.model.name` can choose."""


def save(model: keras.Model, meaning: Meaning, path: Path) -> None:
    """Write `model` to a `.keras` file with what it means: whole or not at all, and the same bytes for the same weights.

    Keras reads its own parts of the file and lets ours be.
    """
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "model.keras"
        model.save(written)
        with zipfile.ZipFile(written) as source:
            parts = {name: source.read(name) for name in source.namelist()}
    parts["metadata.json"] = f'{{"keras_version": "{keras.__version__}"}}'.encode()  # without the time of saving
    parts["config.json"] = _renumbered(parts["config.json"].decode()).encode()
    parts[MEANING] = meaning.to_json().encode()
    dark = meaning.preprocessing.dark
    if dark is not None:
        content = io.BytesIO()
        np.save(content, np.stack([dark.mean, dark.noise]), allow_pickle=False)
        parts[DARK] = content.getvalue()
    with atomic.replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as target:
        for name in sorted(parts):
            target.writestr(zipfile.ZipInfo(name, FIXED_DATE), parts[name])


def _renumbered(config: str) -> str:
    """Number shared objects in order: Keras names them by their place in memory, which is new in every process."""
    places = list(dict.fromkeys(re.findall(r'"shared_object_id": (\d+)', config)))
    return re.sub(r'(?<="shared_object_id": )\d+', lambda match: str(places.index(match[0])), config)


def load(path: Path) -> tuple[keras.Model, Meaning]:
    """Return the model in a `.keras` file that `save` wrote, and its meaning.

    Code inside such a file is refused (Keras' safe mode). Raises UserError if it cannot be read or is another's.
    """
    meaning = meaning_of(path)
    with _told(path):
        return keras.saving.load_model(path, compile=False, safe_mode=True), meaning


def meaning_of(path: Path) -> Meaning:
    """Return what the model in a file means. Raises UserError as `load`."""
    with _told(path), zipfile.ZipFile(path) as file:
        if MEANING not in file.namelist():
            raise UserError(
                f"{path}: must be a model that `xtcav train` wrote, with its preprocessing, got another .keras file; "
                "train it here"
            )
        dark = None
        if DARK in file.namelist():
            mean, noise = np.load(io.BytesIO(file.read(DARK)), allow_pickle=False)
            dark = Dark(mean, noise)
        return Meaning.from_json(file.read(MEANING), dark)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError) as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:  # Keras unpacks the weights to a file of its own
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: must be a model that `xtcav train` wrote, got {reason!r}; run `make repro`") from None
