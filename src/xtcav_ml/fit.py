"""The only function that trains: the train stage, the tuner and the tests call it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xtcav_ml import backend, models, optimizers
from xtcav_ml.backend import keras
from xtcav_ml.batches import Batches, SetEpoch
from xtcav_ml.checkpoint import Checkpoints, State
from xtcav_ml.errors import UserError
from xtcav_ml.geometry import CLASSES, NUMBERS, Ends
from xtcav_ml.h5io.prepared import PreparedFile
from xtcav_ml.metrics import best_epoch, score
from xtcav_ml.params.train import TrainParams

LEAST_SPREAD = 0.1
"""Of a pixel that is standardized by itself, part of the spread of all pixels."""


class StopTraining(Exception):
    """Raised by a listener to end the training at once, as a pruned trial does."""


class Listener(Protocol):
    """What `fit` tells while it trains. Progress bars, trackers and pruners are listeners."""

    def on_step(self, step: int, steps: int) -> None:
        """`step` of `steps` minibatches of this epoch are done."""

    def on_resume(self, epochs: int, refused: Sequence[str]) -> None:
        """States of earlier trainings were found: one after `epochs` epochs is gone on from, `refused` says why not others."""

    def on_epoch(self, epoch: int, values: dict[str, float], seconds: Mapping[str, float]) -> None:
        """`epoch` (from 1) is done.

        `values` are what it was worth, the same in every run; `seconds` what took how long: nothing for an epoch that was
        done before the training was stopped and resumed.
        """


@dataclass(frozen=True)
class Fitted:
    """A trained network with the weights of its best epoch, the one that did best on validation."""

    model: keras.Model
    best_epoch: int  # from 1
    history: list[dict[str, float]]  # one row an epoch


def fit(
    train: PreparedFile,
    validation: PreparedFile,
    params: TrainParams,
    listeners: Sequence[Listener] = (),
    checkpoints: Checkpoints | None = None,
) -> Fitted:
    """Train a new network on `train` and return it with the weights that did best on `validation`.

    The result is a function of the files and `params` alone, bit for bit, on one type of machine; also if it was stopped and
    goes on from `checkpoints`. Raises UserError if the training set does not fill one minibatch or the loss is not finite;
    lets StopTraining of a listener through.
    """
    if train.shots < params.batch_size:
        raise UserError(
            f"train.batch_size: must not be more than the {train.shots} training shots, got {params.batch_size}; lower it"
        )
    ends, scales = Ends.of(train.meaning), scales_of(train, params.model.standardize)

    def build() -> keras.Model:
        with backend.precision(params.precision):
            return models.NETWORKS[params.model.name](params.model, ends, scales, seed=params.seed)

    model = build()
    weights = class_weights(train) if params.class_weights else None
    batches = Batches(train, params.batch_size, params.seed, weights)
    optimizer = optimizers.of(params.optimizer, len(batches) * params.epochs)
    model.compile(optimizer=optimizer, **_losses(ends, scales, params.regression_weight))
    watch = _Watch(batches, listeners, params, checkpoints)
    if checkpoints is not None:
        watch.go_on(model, checkpoints)
    if not watch.ended():
        model.fit(
            batches,
            validation_data=Batches(validation, params.batch_size),
            initial_epoch=len(watch.history),
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
            Accuracy(ends.classes),
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


class _Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps history, best weights and checkpoints, tells the listeners, and stops where going on makes no sense."""

    def __init__(
        self,
        batches: Batches,
        listeners: Sequence[Listener],
        params: TrainParams,
        checkpoints: Checkpoints | None,
    ) -> None:
        super().__init__()
        self.batches, self.listeners, self.train, self.checkpoints = batches, listeners, params, checkpoints
        self.history: list[dict[str, float]] = []
        self.best_weights: list[Any] = []
        self.gradients = optimizers.Gradients(params.optimizer)
        self._clock = _Clock()

    def go_on(self, model: keras.Model, checkpoints: Checkpoints) -> None:
        """Bring the model into the state that was kept, if there is one, and tell the listeners how it came there."""
        state = checkpoints.load()
        for listener in self.listeners:
            if state is not None or checkpoints.refused:
                listener.on_resume(0 if state is None else len(state.history), checkpoints.refused)
        if state is None:
            return
        model.optimizer.build(model.trainable_variables)
        for variables, values in ((_variables(model), state.variables), (model.optimizer.variables, state.optimizer)):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        self.history, self.best_weights = list(state.history), list(state.best)
        for epoch, row in enumerate(self.history, start=1):
            for listener in self.listeners:
                listener.on_epoch(epoch, row, {})

    def ended(self) -> bool:
        """Return whether the training is over: all epochs are done, or too many since the best one."""
        done = len(self.history)
        patience = self.train.stop_after
        late = patience is not None and done > 0 and done - best_epoch(self.history) >= patience
        return done >= self.train.epochs or late

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        rate = optimizers.plateau_rate(self.train.optimizer, [score(row) for row in self.history])
        if rate is not None:
            self.model.optimizer.learning_rate.assign(rate)
        self._clock.start()
        self.batches.seconds = 0.0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if batch + 1 >= len(self.batches) - 2:  # three steps show two gradients
            self.gradients.look(self.model)
        for listener in self.listeners:
            listener.on_step(batch + 1, len(self.batches))

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._clock.lap("train")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._clock.lap("validation")
        values = _named(logs or {})
        values["learning_rate"] = float(self.model.optimizer.learning_rate)
        if not all(abs(value) < float("inf") for value in values.values()):
            raise UserError(
                f"train: the loss must stay finite, got {values['train_loss']} in epoch {epoch + 1}; "
                "lower train.optimizer.learning_rate or train.optimizer.momentum"
            )
        values |= self.gradients.found() | _predicted(self.model)
        if self.train.model.l1 or self.train.model.l2:
            values["regularization"] = float(sum(float(loss) for loss in self.model.losses))
        self.history.append(values)
        if best_epoch(self.history) == len(self.history):
            self.best_weights = self.model.get_weights()
        if self.checkpoints is not None:
            variables = [np.asarray(variable) for variable in _variables(self.model)]
            slots = [np.asarray(variable) for variable in self.model.optimizer.variables]
            self.checkpoints.save(State(self.history, variables, slots, self.best_weights))
        self._clock.lap("checkpoint")
        seconds = {**self._clock.laps, "read": self.batches.seconds}
        for listener in self.listeners:
            listener.on_epoch(epoch + 1, values, seconds)
        self.model.stop_training = self.ended()


class _Clock:
    """Seconds of the parts of an epoch."""

    def start(self) -> None:
        """Begin an epoch."""
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """End a part of it."""
        now = time.monotonic()
        self.laps[name] = now - self._last
        self._last = now


def _variables(model: keras.Model) -> list[Any]:
    """Return all state of a model: weights and random number generators, but not the metrics, which begin anew."""
    metrics = {id(variable) for variable in model.metrics_variables}
    return [variable for variable in model.variables if id(variable) not in metrics]


def _predicted(model: keras.Model) -> dict[str, float]:
    """Return which part of the validation shots is predicted as each class (by number), where classes are learned."""
    counts = [metric.counts for metric in _metrics(model) if isinstance(metric, Accuracy)]
    if not counts:
        return {}
    found = np.asarray(counts[0])
    return {f"val_predicted_{value}": float(share) for value, share in enumerate(found / max(found.sum(), 1))}


def _metrics(model: keras.Model) -> list[Any]:
    """Return the metrics of all heads: Keras lists the compiled ones as one."""
    return [inner for outer in model.metrics for inner in (outer.metrics if hasattr(outer, "metrics") else [outer])]


@keras.saving.register_keras_serializable("xtcav")
class Accuracy(keras.metrics.Metric):  # type: ignore[misc]
    """Part of the shots whose likeliest class is the right one; counts on the way how often each class is said."""

    def __init__(self, classes: int, name: str = "accuracy") -> None:
        super().__init__(name=name)
        self.hits = self.add_variable((), "zeros", name="hits")
        self.counts = self.add_variable((classes,), "zeros", name="counts")

    def update_state(self, truth: Any, probabilities: Any, sample_weight: Any = None) -> None:
        """Add a minibatch."""
        said = keras.ops.argmax(probabilities, axis=-1)
        truth = keras.ops.reshape(keras.ops.cast(truth, said.dtype), keras.ops.shape(said))
        self.hits.assign_add(keras.ops.sum(keras.ops.cast(keras.ops.equal(truth, said), "float32")))
        self.counts.assign_add(keras.ops.sum(keras.ops.one_hot(said, self.counts.shape[0]), axis=0))

    def result(self) -> Any:
        """Return the accuracy so far."""
        return self.hits / keras.ops.maximum(keras.ops.sum(self.counts), 1)


def _named(logs: Mapping[str, Any]) -> dict[str, float]:
    """Return Keras' values by our names: with two heads it puts each one's name before, and adds each one's loss."""
    found: dict[str, float] = {}
    for key, value in sorted(logs.items()):
        split, name = ("val", key.removeprefix("val_")) if key.startswith("val_") else ("train", key)
        if name not in (f"{CLASSES}_loss", f"{NUMBERS}_loss"):
            found[f"{split}_{name.removeprefix(f'{CLASSES}_').removeprefix(f'{NUMBERS}_')}"] = float(value)
    return found
