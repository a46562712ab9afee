"""Section `train`: the network, its optimizer and the length of the training."""

from typing import Annotated, Literal

from pydantic import Field

from xtcav_ml.params.base import Section


class Block(Section):
    """A convolution, a ReLU and a pooling, all with `same` padding."""

    channels: int = Field(ge=1, le=4096)
    kernel: int = Field(ge=1, le=512)  # pixels, square
    stride: int = Field(ge=1, le=64)  # of the convolution, pixels
    pool: Literal["max", "average"]
    pool_window: int = Field(ge=1, le=512)  # pixels, square
    pool_stride: int = Field(ge=1, le=512)  # pixels


class Model(Section):
    """The notes' kind of network: blocks, hidden layers, one output for each class."""

    name: Literal["convnet"]
    standardize: Literal["all", "pixel"]  # by mean and s.d. of all pixels of the training set, or of each ("whitening")
    blocks: tuple[Block, ...] = Field(min_length=1)
    hidden: tuple[Annotated[int, Field(ge=1, le=65536)], ...]  # units of each fully connected layer before the output
    initial_sd: float = Field(gt=0, le=10)  # of all kernels; normal, truncated at two s.d.
    l1: float = Field(ge=0)  # times the sum of |w| over all kernels, added to the loss
    l2: float = Field(ge=0)  # times the sum of w^2


class Optimizer(Section):
    """SGD with momentum; the rate is multiplied by `decay_rate` after every `decay_steps` steps."""

    learning_rate: float = Field(gt=0, le=10)
    momentum: float = Field(ge=0, lt=1)
    decay_rate: float = Field(gt=0, le=1)
    decay_steps: int = Field(ge=1)  # minibatches


class TrainParams(Section):
    """All that train needs to know."""

    seed: int = Field(ge=0, lt=2**32)
    threads: int = Field(ge=1, le=1024)  # on a CPU; a different number changes the last bits of a result
    batch_size: int = Field(ge=1, le=65536)  # shots
    epochs: int = Field(ge=1, le=100000)  # passes over the training set; the best on validation is kept
    class_weights: bool  # weigh a shot by one over the frequency of its class, instead of discarding by prepare.balance
    regression_weight: float = Field(gt=0, le=1000)  # of the regression's loss beside that of the classes
    model: Model
    optimizer: Optimizer
