"""Section `train`: the network, its optimizer and the length of the training.

What is usually off (batch normalization, dropout, clipping, early stopping) may be left out of params.yaml.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from xtcav_ml.config.base import Section
from xtcav_ml.config.schema import LARGEST_SIDE

Activation = Literal["relu", "gelu", "silu", "tanh"]
Part = Annotated[float, Field(ge=0, le=0.99)]
Penalty = Annotated[float, Field(ge=0, le=1000)]
Pixels = Annotated[int, Field(ge=0, lt=LARGEST_SIDE)]


class Block(Section):
    """A convolution, batch normalization, an activation, a pooling (all with `same` padding) and dropout."""

    channels: int = Field(ge=1, le=4096)
    kernel: int = Field(ge=1, le=512)  # pixels, square
    stride: int = Field(ge=1, le=64)  # of the convolution, pixels
    pool: Literal["max", "average", "none"]
    pool_window: int = Field(ge=1, le=512)  # pixels, square
    pool_stride: int = Field(ge=1, le=512)  # pixels
    batch_norm: bool = False
    activation: Activation = "relu"
    dropout: Part = 0.0  # part of the values that are set to 0 in training


class Model(Section):
    """The notes' kind of network: blocks, hidden layers, one output for each class."""

    name: Literal["convnet"]
    standardize: Literal["all", "pixel"]  # by mean and s.d. of all pixels of the training set, or of each ("whitening")
    blocks: tuple[Block, ...] = Field(min_length=1, max_length=64)
    hidden: tuple[Annotated[int, Field(ge=1, le=65536)], ...] = Field(
        max_length=64
    )  # units of each fully connected layer before the output
    hidden_activation: Activation = "relu"
    hidden_dropout: Part = 0.0
    hidden_batch_norm: bool = False
    initializer: Literal["truncated_normal", "he", "glorot"] = "truncated_normal"  # of all kernels
    initial_sd: float = Field(ge=1e-9, le=10)  # of truncated_normal, which ends at two s.d.
    initial_bias: float = Field(ge=-100, le=100, default=0.0)  # of convolutions and hidden layers
    l1: Penalty  # times the sum of |w| over all kernels, added to the loss
    l2: Penalty  # times the sum of w^2


class Optimizer(Section):
    """How weights follow from gradients, and how the learning rate changes with the steps (minibatches)."""

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: float = Field(ge=1e-9, le=10)
    momentum: float = Field(ge=0, le=0.9999)  # of sgd; Adam's first decay
    nesterov: bool = False  # of sgd
    weight_decay: float = Field(ge=0, le=10, default=0.0)  # of adamw, per unit of the learning rate
    clip_norm: float | None = Field(
        ge=1e-9, le=1e9, default=None
    )  # a gradient longer than this, over all weights, is shortened
    schedule: Literal["staircase", "cosine", "plateau"] = "staircase"
    decay_rate: float = Field(
        ge=1e-3, le=1
    )  # staircase: factor after every `decay_steps`; plateau: after `patience` epochs
    decay_steps: int = Field(ge=1, lt=2**31)
    warmup_steps: int = Field(
        ge=0, lt=2**31, default=0
    )  # cosine: the rate rises from 0 over these, then falls to 0 at the end
    patience: int = Field(ge=1, le=100000, default=5)  # plateau: epochs without a better score

    @model_validator(mode="after")
    def _fits_its_name(self) -> "Optimizer":
        for key, owner in (("nesterov", "sgd"), ("weight_decay", "adamw")):
            if getattr(self, key) and self.name != owner:
                raise ValueError(f"{key} is for {owner} only, got it with {self.name}; remove it, or change name")
        if self.warmup_steps and self.schedule != "cosine":
            raise ValueError(f"warmup_steps is for the cosine schedule only, got it with {self.schedule}; remove it")
        return self


class Augment(Section):
    """How training frames are varied, anew in every epoch: by what the experiment varies too, without changing a label."""

    shift: tuple[Pixels, Pixels] = (0, 0)  # most rows and columns, pixels
    gain: float = Field(ge=0, le=1, default=0.0)  # r.m.s. of ln of the light
    noise: float = Field(
        ge=0, le=10, default=0.0
    )  # s.d. of what is added to each pixel, in units of the pixels' spread

    @property
    def varies_frames(self) -> bool:
        """Return whether the stored frames themselves are varied."""
        return any(self.shift) or self.gain > 0


class TrainParams(Section):
    """All that train needs to know."""

    seed: int = Field(ge=0, lt=2**32)
    threads: int = Field(ge=1, le=1024)  # on a CPU; a different number changes the last bits of a result
    batch_size: int = Field(ge=1, le=65536)  # shots
    epochs: int = Field(ge=1, le=100000)  # passes over the training set; the best on validation is kept
    stop_after: int | None = Field(ge=1, le=100000, default=None)  # epochs without a better one end the training
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"  # of what the layers compute
    class_weights: bool  # weigh a shot by one over the frequency of its class, instead of discarding by prepare.balance
    regression_weight: float = Field(ge=1e-9, le=1000)  # of the regression's loss beside that of the classes
    augment: Augment = Augment()
    model: Model
    optimizer: Optimizer
