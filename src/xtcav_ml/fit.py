"""The only function that trains: the train stage, the tuner and the tests call it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xtcav_ml import models
from xtcav_ml.backend import keras
from xtcav_ml.batches import Batches, SetEpoch
from xtcav_ml.errors import UserError
from xtcav_ml.geometry import CLASSES, NUMBERS, Ends
from xtcav_ml.h5io.prepared import PreparedFile
from xtcav_ml.metrics import best_epoch
from xtcav_ml.params.train import TrainParams

LEAST_SPREAD = 0.1
"""Of a pixel that is standardized by itself, part of the spread of all pixels."""


class StopTraining(Exception):
    """Raised by a listener to end the training at once, as a pruned trial does."""


class Listener(Protocol):
    """What `fit` tells while it trains. Progress bars, trackers and pruners are listeners."""

    def on_step(self, step: int, steps: int) -> None:
        """`step` of `steps` minibatches of this epoch are done."""

    def on_epoch(self, epoch: int, values: dict[str, float]) -> None:
        """`epoch` (from 1) is done; `values` are its losses and accuracies."""


@dataclass(frozen=True)
class Fitted:
    """A trained network with the weights of its best epoch, the one that did best on validation."""

    model: keras.Model
    best_epoch: int  # from 1
    history: list[dict[str, float]]  # one row an epoch


def fit(
    train: PreparedFile, validation: PreparedFile, params: TrainParams, listeners: Sequence[Listener] = ()
) -> Fitted:
    """Train a new network on `train` and return it with the weights that did best on `validation`.

    The result is a function of the files and `params` alone, bit for bit, on one type of machine. Raises UserError if
    the training set does not fill one minibatch or the loss is not finite; lets StopTraining of a listener through.
    """
    if train.shots < params.batch_size:
        raise UserError(
            f"train.batch_size: must not be more than the {train.shots} training shots, got {params.batch_size}; lower it"
        )

    ends, scales = Ends.of(train.meaning), scales_of(train, params.model.standardize)

    def build() -> keras.Model:
        return models.NETWORKS[params.model.name](params.model, ends, scales, seed=params.seed)

    model = build()
    model.compile(optimizer=_optimizer(params), **_losses(ends, scales, params.regression_weight))
    weights = class_weights(train) if params.class_weights else None
    batches = Batches(train, params.batch_size, params.seed, weights)
    watch = _Watch(batches, listeners)
    model.fit(
        batches,
        validation_data=Batches(validation, params.batch_size),
        epochs=params.epochs,
        shuffle=False,  # the batches bring their own, reproducible order
        verbose=0,
        callbacks=[SetEpoch(batches), watch],
    )
    best = build()  # a fresh network holds no optimizer, which would double the file
    best.set_weights(watch.best_weights)
    return Fitted(best, best_epoch(watch.history), watch.history)


def scales_of(train: PreparedFile, standardize: str) -> models.Scales:
    """Return mean and spread of pixels (as stored), features and numbers to learn over the training set; no spread is 0.

    Of all pixels together, or of each by itself: then a spread is at least LEAST_SPREAD of that of all, or a pixel that is
    always dark would count as much as one in the beam.
    """
    unit = train.meaning.preprocessing.unit
    mean = float(train.pixel_mean.mean(dtype=np.float64))
    squares = np.square(train.pixel_sd, dtype=np.float64) + np.square(train.pixel_mean, dtype=np.float64)
    sd = float(np.sqrt(max(squares.mean() - mean**2, 0.0))) or 1.0
    pixels = models.Scale(np.array(mean / unit, np.float32), np.array(sd / unit, np.float32))
    if standardize == "pixel":
        spread = np.maximum(train.pixel_sd, np.float32(LEAST_SPREAD * sd))
        pixels = models.Scale((train.pixel_mean / unit).astype(np.float32), (spread / unit).astype(np.float32))
    return models.Scales(pixels, _scale(train.features), _scale(train.targets))


def _scale(values: NDArray[np.float32]) -> models.Scale:
    """Return mean and standard deviation of each column (N, columns), NaN left out; 1 where there is no spread."""
    present = np.isfinite(values)
    count = np.maximum(present.sum(axis=0), 1)
    filled = np.where(present, values, 0).astype(np.float64)
    mean = filled.sum(axis=0) / count
    variance = (np.square(filled - mean) * present).sum(axis=0) / count
    return models.Scale(mean.astype(np.float32), np.where(variance > 0, np.sqrt(variance), 1).astype(np.float32))


def class_weights(train: PreparedFile) -> NDArray[np.float32]:
    """Return (classes,): one over the frequency of each class in the training set, of mean 1 over the shots."""
    counts = np.bincount(train.labels, minlength=len(train.classes))
    return (train.shots / (len(counts) * np.maximum(counts, 1))).astype(np.float32)


def _losses(ends: Ends, scales: models.Scales, regression_weight: float) -> dict[str, Any]:
    """Return what to compile for each head: its loss, its weight and its metrics."""
    loss: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    if ends.classes:
        loss[CLASSES] = "sparse_categorical_crossentropy"
        metrics[CLASSES] = [
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
            keras.metrics.SparseCategoricalCrossentropy(name="cross_entropy"),
        ]
    if ends.numbers:
        loss[NUMBERS] = squared_error = _masked_squared_error(scales.numbers.sd)
        metrics[NUMBERS] = [keras.metrics.MeanMetricWrapper(squared_error, name="squared_error")]
    weights = {name: 1.0 if name == CLASSES else regression_weight for name in loss}
    return {"loss": loss, "metrics": metrics, "loss_weights": weights}


def _masked_squared_error(sd: NDArray[np.float32]) -> Callable[[Any, Any], Any]:
    """Return a loss (batch,) of numbers (batch, V): mean of the squared errors in units of `sd` (V,), of NaN zero."""

    def squared_error(truth: Any, predicted: Any) -> Any:
        known = keras.ops.where(keras.ops.isnan(truth), predicted, truth)  # before the difference: 0 x NaN is NaN
        return keras.ops.mean(keras.ops.square((known - predicted) / sd), axis=-1)

    return squared_error


def _optimizer(params: TrainParams) -> keras.optimizers.Optimizer:
    rate = keras.optimizers.schedules.ExponentialDecay(
        params.optimizer.learning_rate, params.optimizer.decay_steps, params.optimizer.decay_rate, staircase=True
    )
    return keras.optimizers.SGD(rate, momentum=params.optimizer.momentum)


class _Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps history and best weights, tells the listeners, and stops where going on makes no sense."""

    def __init__(self, batches: Batches, listeners: Sequence[Listener]) -> None:
        super().__init__()
        self.steps, self.listeners = len(batches), listeners
        self.history: list[dict[str, float]] = []
        self.best_weights: list[Any] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        for listener in self.listeners:
            listener.on_step(batch + 1, self.steps)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        values = _named(logs or {})
        values["learning_rate"] = float(self.model.optimizer.learning_rate)
        if not all(abs(value) < float("inf") for value in values.values()):
            raise UserError(
                f"train: the loss must stay finite, got {values['train_loss']} in epoch {epoch + 1}; "
                "lower train.optimizer.learning_rate or train.optimizer.momentum"
            )
        self.history.append(values)
        if best_epoch(self.history) == len(self.history):
            self.best_weights = self.model.get_weights()
        for listener in self.listeners:
            listener.on_epoch(epoch + 1, values)


def _named(logs: Mapping[str, Any]) -> dict[str, float]:
    """Return Keras' values by our names: with two heads it puts each one's name before, and adds each one's loss."""
    found: dict[str, float] = {}
    for key, value in sorted(logs.items()):
        split, name = ("val", key.removeprefix("val_")) if key.startswith("val_") else ("train", key)
        if name not in (f"{CLASSES}_loss", f"{NUMBERS}_loss"):
            found[f"{split}_{name.removeprefix(f'{CLASSES}_').removeprefix(f'{NUMBERS}_')}"] = float(value)
    return found
