"""Optimizers and learning rates by name, and the gradients that they applied."""

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.train import Optimizer
from xtcav_ml.learning.backend import keras


def make_optimizer(params: Optimizer, steps: int) -> keras.optimizers.Optimizer:
    """Return the optimizer for a training of `steps` minibatches."""
    kind, options = {
        "sgd": (keras.optimizers.SGD, {"momentum": params.momentum, "nesterov": params.nesterov}),
        "adam": (keras.optimizers.Adam, {"beta_1": params.momentum}),
        "adamw": (keras.optimizers.AdamW, {"beta_1": params.momentum, "weight_decay": params.weight_decay}),
    }[params.name]
    return kind(_schedule(params, steps), global_clipnorm=params.clip_norm, **options)


def _schedule(params: Optimizer, steps: int) -> Any:
    """Return the learning rate: a number, or a schedule of the step."""
    schedules = keras.optimizers.schedules
    if params.schedule == "plateau":
        return params.learning_rate
    if params.schedule == "staircase":
        return schedules.ExponentialDecay(params.learning_rate, params.decay_steps, params.decay_rate, staircase=True)
    if not params.warmup_steps:
        return schedules.CosineDecay(params.learning_rate, steps)
    # I. Loshchilov, F. Hutter, ICLR 2017; the warm-up of P. Goyal et al., arXiv:1706.02677
    warmup: Any = {"warmup_target": params.learning_rate, "warmup_steps": min(params.warmup_steps, steps)}
    return schedules.CosineDecay(0.0, max(steps - params.warmup_steps, 1), **warmup)


def plateau_rate(params: Optimizer, scores: Sequence[float]) -> float | None:
    """Return the learning rate of the next epoch after epochs of these scores; None if the schedule is not `plateau`.

    `decay_rate` multiplies it whenever `patience` epochs in a row, counted from 0 after each decay, bring no new best score. It
    depends on the scores alone, so that a resumed training has the rate of an uninterrupted one.
    """
    if params.schedule != "plateau":
        return None
    rate, best, waited = params.learning_rate, float("-inf"), 0
    for value in scores:
        best, waited = (value, 0) if value > best else (best, waited + 1)
        if waited == params.patience:
            rate, waited = rate * params.decay_rate, 0
    return rate


class Gradients:
    """Length of the last gradient of an epoch, and its cosine with the one before, over all weights together.

    To compute them again would cost two more steps. They follow from the optimizer's state: SGD with momentum m updates its
    velocity v to m v - rate g, Adam its first moment to b m + (1 - b) g; plain SGD moves the weights by -rate g. Gradients
    are those that were applied, after clipping.
    """

    def __init__(self, params: Optimizer) -> None:
        self.params = params
        self._states: list[tuple[NDArray[np.float64], float]] = []

    def observe(self, model: keras.Model) -> None:
        """Keep the state of the optimizer after a step."""
        optimizer = getattr(
            model.optimizer, "inner_optimizer", model.optimizer
        )  # inside the loss scaling of half precision
        slots = [variable for variable in optimizer.variables if variable.path.endswith("momentum")]
        flat = np.concatenate([np.asarray(values, np.float64).ravel() for values in slots or model.trainable_variables])
        self._states.append((flat, float(optimizer.learning_rate)))  # the rate of the next step

    def measured(self) -> dict[str, float]:
        """Return `gradient_norm` and `gradient_cosine`, if the observed steps determine them, and forget the steps."""
        pairs = zip(self._states, self._states[1:], strict=False)
        gradients = [self._gradient(before, after, rate) for (before, rate), (after, _) in pairs]
        self._states = []
        if not gradients:
            return {}
        values = {"gradient_norm": sqrt(dot(gradients[-1], gradients[-1]))}
        lengths = [sqrt(dot(gradient, gradient)) for gradient in gradients[-2:]]
        if len(lengths) == 2 and all(lengths):
            values["gradient_cosine"] = dot(gradients[-2], gradients[-1]) / (lengths[0] * lengths[1])
        return values

    def _gradient(self, before: NDArray[np.float64], after: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
        momentum = self.params.momentum
        if self.params.name != "sgd":
            return (after - momentum * before) / (1 - momentum)
        return ((momentum or 1.0) * before - after) / max(rate, 1e-30)


def dot(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the dot product of two vectors: the same bits on every processor, which BLAS has not."""
    return float((one * other).sum())
