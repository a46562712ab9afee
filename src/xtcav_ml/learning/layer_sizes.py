"""A network's sizes from arithmetic alone: shapes, parameters and memory, before Keras is imported or anything runs."""

from dataclasses import dataclass
from math import ceil, prod
from typing import Self

from xtcav_ml.config.train import Block, Model
from xtcav_ml.science.spec import Meaning
from xtcav_ml.system.errors import UserError

FLOAT32 = 4  # bytes
STEP, FUSED_STEP = 48 * 2**20, 72 * 2**20
"""Bytes that TensorFlow takes to build a training step, however small, without and with the fused first layer; measured."""

PIXEL = 12
"""Bytes of copies of each pixel of a minibatch: as stored in those that are being made, as a float in that which trains."""

LIBRARIES = 700 * 2**20
"""Bytes of a process with Keras and TensorFlow before a network is built; measured."""

CLASSES, NUMBERS = "output", "numbers"
"""Names of the last layers: probabilities of the classes, and numbers learned by regression."""


@dataclass(frozen=True)
class Layer:
    """One layer: its name in the model, output shape of one shot (rows, columns, channels) or (units,), parameters.

    `operations` are the multiplications and additions, or comparisons, of one shot forward.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    operations: int

    @property
    def memory(self) -> int:
        """Return the bytes of its output for one shot, float32."""
        return FLOAT32 * prod(self.shape)


@dataclass(frozen=True)
class Ends:
    """What goes into a network and what comes out."""

    frame_shape: tuple[int, int]  # rows and columns of a prepared frame
    frame_dtype: str  # of its pixels, as stored
    features: int  # numbers beside the frame
    classes: int  # probabilities; 0 where no classes are learned
    numbers: int  # learned by regression

    @classmethod
    def of(cls, meaning: Meaning) -> Self:
        """Return the ends of a network that learns what `meaning` says."""
        made = meaning.preprocessing
        return cls(made.shape, made.pixels.dtype, len(meaning.features), len(meaning.classes), len(meaning.regression))


def layers(model: Model, ends: Ends) -> list[Layer]:
    """Return the layers that `model` builds between `ends`.

    Raises UserError, naming the key, if a part of a kernel or of a pooling window never meets a pixel of its map.
    """
    found: list[Layer] = []
    rows, columns, channels = *ends.frame_shape, 1
    for i, block in enumerate(model.blocks):
        key = f"train.model.blocks.{i}"
        _require_fits(f"{key}.kernel", block.kernel, rows, columns)
        parameters = (block.kernel**2 * channels + 1) * block.channels
        rows, columns, channels = ceil(rows / block.stride), ceil(columns / block.stride), block.channels
        operations = 2 * parameters * rows * columns
        found.append(Layer(f"conv{i + 1}", (rows, columns, channels), parameters, operations))
        if block.batch_norm:
            found.append(
                Layer(f"norm_conv{i + 1}", (rows, columns, channels), 2 * channels, 2 * rows * columns * channels)
            )
        if block.pool != "none":
            _require_fits(f"{key}.pool_window", block.pool_window, rows, columns)
            rows, columns = ceil(rows / block.pool_stride), ceil(columns / block.pool_stride)
            operations = block.pool_window**2 * rows * columns * channels
            found.append(Layer(f"pool{i + 1}", (rows, columns, channels), 0, operations))
    units = rows * columns * channels + ends.features
    for i, width in enumerate(model.hidden, start=1):
        found.append(Layer(f"hidden{i}", (width,), (units + 1) * width, 2 * (units + 1) * width))
        if model.hidden_batch_norm:
            found.append(Layer(f"norm_hidden{i}", (width,), 2 * width, 2 * width))
        units = width
    for name, width in ((CLASSES, ends.classes), (NUMBERS, ends.numbers)):
        if width:
            found.append(Layer(name, (width,), (units + 1) * width, 2 * (units + 1) * width))
    return found


def parameter_count(found: list[Layer]) -> int:
    """Return the number of trainable numbers."""
    return sum(layer.parameters for layer in found)


def fusible(block: Block, precision: str) -> bool:
    """Return whether the convolution and pooling of a network's first `block` can be made as one (`first_layer`).

    What follows the convolution must keep order, so that it can wait until there are only maxima left.
    """
    keeps_order = not block.batch_norm and block.activation in ("relu", "tanh")
    return keeps_order and block.pool == "max" and precision == "float32"


def step_memory(found: list[Layer], batch_size: int, ends: Ends, *, fused: bool) -> int:
    """Estimate the bytes of one training step: every map forward and its gradient, and four copies of the parameters.

    To that come its frames and those of the next one. The maps are kept for the backward pass, but for the first where it is
    `fused` with its pooling, as on a CPU; parameters stand beside their gradient, velocity and update. Within 25 % of what the
    15 configurations of the 2016 notes need here (benchmarks/steps.py).
    """
    maps = sum(prod(layer.shape) for layer in (found[1:] if fused else found))
    frames = PIXEL * batch_size * prod(ends.frame_shape)
    return (FUSED_STEP if fused else STEP) + frames + FLOAT32 * (2 * batch_size * maps + 4 * parameter_count(found))


def _require_fits(key: str, size: int, rows: int, columns: int) -> None:
    """Padding lets a window be larger than its map (the notes' are, on 40 x 40 pixels), up to where its edge meets nothing."""
    most = 2 * min(rows, columns) - 1
    if size > most:
        raise UserError(
            f"{key}: must not be more than twice the {rows} x {columns} map that it works on less one, got {size}; "
            f"choose at most {most}, or shrink the map less before it"
        )
