"""The only function that trains: the train stage, the tuner and the tests call it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from xtcav_ml import models
from xtcav_ml.backend import keras
from xtcav_ml.batches import Batches, SetEpoch
from xtcav_ml.errors import UserError
from xtcav_ml.h5io.prepared import PreparedFile
from xtcav_ml.metrics import best_epoch
from xtcav_ml.params.train import TrainParams


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
    """A trained network with the weights of its best epoch, the one with the highest validation accuracy."""

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

    def build() -> keras.Model:
        return models.NETWORKS[params.model.name](
            params.model,
            train.frame_shape,
            len(train.classes),
            mean=train.pixel_mean,
            sd=train.pixel_sd,
            seed=params.seed,
        )

    model = build()
    model.compile(
        optimizer=_optimizer(params),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy", keras.metrics.SparseCategoricalCrossentropy(name="cross_entropy")],
    )
    batches = Batches(train, params.batch_size, seed=params.seed)
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
        values = {
            name if name.startswith("val_") else f"train_{name}": float(value)
            for name, value in sorted((logs or {}).items())
        }
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
