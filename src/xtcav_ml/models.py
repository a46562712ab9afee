"""Keras networks by name, and the file that holds one."""

import re
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from xtcav_ml import atomic
from xtcav_ml.backend import keras
from xtcav_ml.params.train import Model

FIXED_DATE = (1980, 1, 1, 0, 0, 0)
"""Date of every entry of a model file (the first that a zip can hold), so that equal models are equal bytes."""


def convnet(
    model: Model, frame_shape: tuple[int, int], classes: int, *, mean: float, sd: float, seed: int
) -> keras.Model:
    """Return the notes' network: blocks of convolution, ReLU and pooling, hidden layers, one probability a class.

    Input is (batch, rows, columns, 1), a prepared frame; `mean` and `sd` are those of the training set's pixels.
    """
    seeds = iter(range(seed, seed + 1000))

    def kernels() -> dict[str, object]:
        return {
            "kernel_initializer": keras.initializers.TruncatedNormal(stddev=model.initial_sd, seed=next(seeds)),
            "kernel_regularizer": keras.regularizers.L1L2(l1=model.l1, l2=model.l2) if model.l1 or model.l2 else None,
        }

    inputs = keras.Input((*frame_shape, 1), name="frame")
    x = keras.layers.Normalization(axis=None, mean=mean, variance=sd**2, name="standardize")(inputs)
    pooling = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}
    for i, block in enumerate(model.blocks, start=1):
        convolution = keras.layers.Conv2D(
            block.channels, block.kernel, block.stride, "same", activation="relu", name=f"conv{i}", **kernels()
        )
        x = convolution(x)
        x = pooling[block.pool](block.pool_window, block.pool_stride, "same", name=f"pool{i}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for i, units in enumerate(model.hidden, start=1):
        x = keras.layers.Dense(units, activation="relu", name=f"hidden{i}", **kernels())(x)
    outputs = keras.layers.Dense(classes, activation="softmax", name="output", **kernels())(x)
    return keras.Model(inputs, outputs, name=model.name)


NETWORKS: dict[str, Callable[..., keras.Model]] = {"convnet": convnet}
"""The networks that `train.model.name` can choose."""


def save(model: keras.Model, path: Path) -> None:
    """Write `model` to a `.keras` file: whole or not at all, and the same bytes for the same weights."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "model.keras"
        model.save(written)
        with (
            atomic.replacing(path) as temporary,
            zipfile.ZipFile(written) as source,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as target,
        ):
            for name in sorted(source.namelist()):
                content = source.read(name)
                if name == "metadata.json":  # it holds the time of saving
                    content = f'{{"keras_version": "{keras.__version__}"}}'.encode()
                if name == "config.json":
                    content = _renumbered(content.decode()).encode()
                target.writestr(zipfile.ZipInfo(name, FIXED_DATE), content)


def _renumbered(config: str) -> str:
    """Number shared objects in order: Keras names them by their place in memory, which is new in every process."""
    places = list(dict.fromkeys(re.findall(r'"shared_object_id": (\d+)', config)))
    return re.sub(r'(?<="shared_object_id": )\d+', lambda match: str(places.index(match[0])), config)


def load(path: Path) -> keras.Model:
    """Return the model in a `.keras` file. Code inside such a file is refused (Keras' safe mode)."""
    return keras.saving.load_model(path, compile=False, safe_mode=True)
