"""Section `train`: network, optimizer and length of the training. Parameters with a default may be left out."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from xtcav_ml.config.base import Section, parameter
from xtcav_ml.config.schema import LARGEST_SIDE

Activation = Literal["relu", "gelu", "silu", "tanh"]
Dropout = Annotated[float, Field(ge=0, le=0.99)]
Units = Annotated[int, Field(ge=1, le=65536)]
Penalty = Annotated[float, Field(ge=0, le=1000)]
PixelShift = Annotated[int, Field(ge=0, lt=LARGEST_SIDE)]


class LayerBlock(Section):
    """A convolution, batch normalization, an activation, a pooling (all with `same` padding) and dropout."""

    channels: int = parameter("kernels of the convolution", "channels", ge=1, le=4096)
    kernel: int = parameter("side of a kernel", "pixels", ge=1, le=512)
    stride: int = parameter("stride of the convolution, at most its kernel", "pixels", ge=1, le=64)
    pool: Literal["max", "average", "none"] = parameter("pooling")
    pool_window: int = parameter("side of the pooling window", "pixels", ge=1, le=512)
    pool_stride: int = parameter("stride of the pooling", "pixels", ge=1, le=512)
    batch_norm: bool = parameter("normalize over the minibatch", default=False)
    activation: Activation = parameter("activation function", default="relu")
    dropout: Dropout = parameter("values set to 0 in training", "fraction of the values", default=0.0)

    @model_validator(mode="after")
    def _leaves_out_no_pixel(self) -> Self:
        """TensorFlow 2.21 writes outside its memory where it differentiates a convolution that leaves out pixels, on a CPU."""
        if self.stride > self.kernel:
            raise ValueError(
                f"stride: the convolution leaves out pixels (found {self.stride}, expected at most kernel = {self.kernel}). "
                "Fix: lower it, or use `pool`"
            )
        return self


class Model(Section):
    """The notes' kind of network: blocks, hidden layers, one output for each class; no blocks without frames."""

    name: str = parameter("kind of network")
    standardize: Literal["all", "pixel"] = parameter("scaling by mean and s.d. of all training pixels or of each")
    coarsen: int = parameter(
        "side of blocks of prepared pixels that are averaged first", "pixels", ge=1, le=64, default=1
    )
    blocks: tuple[LayerBlock, ...] = parameter("convolutional layers in order", max_length=64)
    hidden: tuple[Units, ...] = parameter("sizes of fully connected layers before the output", "units", max_length=64)
    hidden_activation: Activation = parameter("activation of the hidden layers", default="relu")
    hidden_dropout: Dropout = parameter("values of hidden layers set to 0 in training", "fraction", default=0.0)
    hidden_batch_norm: bool = parameter("normalize hidden layers over the minibatch", default=False)
    initializer: Literal["truncated_normal", "he", "glorot"] = parameter("initial kernels", default="truncated_normal")
    initial_sd: float = parameter("s.d. of truncated_normal, which ends at two s.d.", "1", ge=1e-9, le=10)
    initial_bias: float = parameter("initial bias of convolutions and hidden layers", "1", ge=-100, le=100, default=0.0)
    l1: Penalty = parameter("loss for the sum of |w| over all kernels", "1")
    l2: Penalty = parameter("loss for the sum of w^2 over all kernels", "1")


class Optimizer(Section):
    """The rule from gradients to weights, and the schedule of the learning rate, whose steps are minibatches."""

    name: Literal["sgd", "adam", "adamw"] = parameter("optimizer", default="sgd")
    learning_rate: float = parameter("learning rate at the start", "1", ge=1e-9, le=10)
    momentum: float = parameter("momentum of sgd; first decay of adam", "1", ge=0, le=0.9999)
    nesterov: bool = parameter("Nesterov's momentum, for sgd", default=False)
    weight_decay: float = parameter("weight decay of adamw", "per learning rate", ge=0, le=10, default=0.0)
    clip_norm: float | None = parameter("longest gradient; longer ones are clipped", "1", ge=1e-9, le=1e9, default=None)
    schedule: Literal["staircase", "cosine", "plateau"] = parameter(
        "change of the learning rate; cosine ends at 0", default="staircase"
    )
    decay_rate: float = parameter("factor after decay_steps (staircase) or patience (plateau)", "1", ge=1e-3, le=1)
    decay_steps: int = parameter("length of a stair", "minibatches", ge=1, lt=2**31)
    warmup_steps: int = parameter("length of the rise from 0, for cosine", "minibatches", ge=0, lt=2**31, default=0)
    patience: int = parameter("wait for a better score, for plateau", "epochs", ge=1, le=100000, default=5)

    @model_validator(mode="after")
    def _fits_its_name(self) -> Self:
        for key, owner in (("nesterov", "sgd"), ("weight_decay", "adamw")):
            if getattr(self, key) and self.name != owner:
                raise ValueError(f"{key} is for {owner} (found name: {self.name}, expected {owner}). Fix: remove it")
        if self.warmup_steps and self.schedule != "cosine":
            raise ValueError(
                f"warmup_steps is for cosine (found schedule: {self.schedule}, expected cosine). Fix: remove it"
            )
        return self


class Augment(Section):
    """Random changes of training frames, new in every epoch, as the experiment makes them without changing a label."""

    shift: tuple[PixelShift, PixelShift] = parameter("largest shift of rows and columns", "pixels", default=(0, 0))
    gain: float = parameter("variation of ln of the light", "r.m.s.", ge=0, le=1, default=0.0)
    noise: float = parameter("s.d. of noise added to each pixel", "spread of the pixels", ge=0, le=1, default=0.0)

    @property
    def varies_frames(self) -> bool:
        """Return whether the stored frames themselves are changed."""
        return any(self.shift) or self.gain > 0


class TrainParams(Section):
    """Section `train`."""

    seed: int = parameter("seed of weights, order, augmentation and dropout", "1", ge=0, lt=2**32)
    threads: int = parameter("threads on a CPU; changes the last bits of the result", "threads", ge=1, le=1024)
    batch_size: int = parameter("size of a minibatch", "shots", ge=1, le=65536)
    epochs: int = parameter(
        "length of the training; that of the least validation error is kept", "epochs", ge=1, le=100000
    )
    stop_after: int | None = parameter("wait for a better epoch, then stop", "epochs", ge=1, le=100000, default=None)
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = parameter(
        "numbers of the layers", default="float32"
    )
    processes: int = parameter(
        "processes that train together, on JAX only; changes the last bits of the result",
        "processes",
        ge=1,
        le=1024,
        default=1,
    )
    class_weights: bool = parameter("weigh shots by 1 / frequency of their class; then set prepare.balance.ratio: null")
    regression_weight: float = parameter("weight of the squared error, cross-entropy = 1", "1", ge=1e-9, le=1000)
    coverage: float = parameter(
        "truth of the model's sets and intervals",
        "fraction of the shots of a class or number",
        ge=0.5,
        le=0.999,
        default=0.9,
    )
    augment: Augment = Augment()
    model: Model
    optimizer: Optimizer

    @model_validator(mode="after")
    def _shares_minibatches_evenly(self) -> Self:
        if rest := self.batch_size % self.processes:
            even = sorted({size for size in (self.batch_size - rest, self.batch_size - rest + self.processes) if size})
            raise ValueError(
                f"batch_size: cannot be shared evenly (found {self.batch_size}, expected a multiple of processes = "
                f"{self.processes}). Fix: set it to {' or '.join(map(str, even))}, or change processes"
            )
        return self
