"""The only function that trains: the train stage, the tuner, the notes' experiments and the tests call it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from xtcav_ml.config.train import TrainParams
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import backend, layer_plan, losses, networks, normalization, optimizers, ranks, rules
from xtcav_ml.learning.augment import Augmentation
from xtcav_ml.learning.backend import keras
from xtcav_ml.learning.batches import Batches
from xtcav_ml.learning.checkpoint import Checkpoints, State
from xtcav_ml.learning.layer_plan import Ends, Plan
from xtcav_ml.science import epochs
from xtcav_ml.system import interrupts
from xtcav_ml.system.errors import UserError


class StopTraining(Exception):
    """Raised by a listener to end the training at once, as a pruned trial does."""


class Listener(Protocol):
    """Called by `fit` while it trains: progress bars, trackers and pruners are listeners."""

    def on_step(self, step: int, steps: int) -> None:
        """`step` of `steps` minibatches of this epoch are done."""

    def on_resume(self, epochs: int, remarks: Sequence[str]) -> None:
        """The training resumes after `epochs` epochs (0: it starts); `remarks` are about other states on disk."""

    def on_epoch(self, epoch: int, values: dict[str, float], seconds: Mapping[str, float]) -> None:
        """`epoch` (from 1) is done.

        `values` are its results, the same in every run; `seconds` its times by name, empty for an epoch that was done before
        the training was stopped and resumed.
        """


@dataclass(frozen=True)
class Fitted:
    """A trained network with the weights of its best epoch on validation."""

    model: keras.Model
    best_epoch: int  # from 1
    history: list[dict[str, float]]  # one row an epoch


@backend.enough_memory()
def fit(
    train: PreparedFile,
    validation: PreparedFile,
    params: TrainParams,
    listeners: Sequence[Listener] = (),
    checkpoints: Checkpoints | None = None,
) -> Fitted:
    """Train a new network on `train` and return it with its best weights on `validation`.

    The result is a function of the files and `params` alone, bit for bit on one type of machine, also if it resumes from
    `checkpoints`. Raises UserError as `rules.require_trainable`, if the loss is not finite, or if a GPU has too little memory;
    passes on StopTraining of a listener, and KeyboardInterrupt after the minibatch in which a stop was requested.
    """
    rules.require_trainable(params, train.spec, train.shots)
    ends, statistics = Ends.of(train.spec), normalization.statistics_of(train, params.model.standardize)

    def build(layers: Plan) -> keras.Model:
        with backend.precision(params.precision):
            return networks.build(layers, params.model, statistics, seed=params.seed)

    layers = layer_plan.plan_layers(params.model, ends, noise=params.augment.noise)
    if params.processes > backend.share().of:
        best_weights, history = ranks.fit_together(fit, train.path, validation.path, params, listeners, checkpoints)
    else:
        model = build(layer_plan.fused(layers, params.precision) if backend.runs_fused_layers() else layers)
        loss = losses.compiled(ends, statistics.numbers.sd, params.regression_weight)
        watch = _train(model, loss, train, validation, params, listeners, checkpoints)
        best_weights, history = watch.best_weights, watch.history
    best = build(layers)  # without an optimizer, which would double the file
    best.set_weights(best_weights)
    return Fitted(best, epochs.best(history), history)


def _train(
    model: keras.Model,
    loss: dict[str, Any],
    train: PreparedFile,
    validation: PreparedFile,
    params: TrainParams,
    listeners: Sequence[Listener],
    checkpoints: Checkpoints | None,
) -> "_Watch":
    """Train `model` in this process; return what was kept."""
    weights = normalization.class_weights(train) if params.class_weights else None
    varied = Augmentation(params.augment, train.spec.preprocessing) if params.augment.varies_frames else None
    share = backend.share()
    batches = Batches(train, params.batch_size, params.seed, weights, varied, share)
    even = validation.shots % share.of == 0
    measured = Batches(validation, params.batch_size, share=share if even else backend.WHOLE)
    optimizer = optimizers.make_optimizer(params.optimizer, len(batches) * params.epochs)
    model.compile(optimizer=optimizer, **loss)
    watch = _Watch(batches, measured, listeners, params, checkpoints, train.classes)
    if checkpoints is not None:
        watch.resume(model, checkpoints)
    if not watch.ended():
        model.fit(
            backend.feed(batches),
            validation_data=backend.feed(measured),
            initial_epoch=len(watch.history),
            epochs=params.epochs,
            shuffle=False,  # the batches have their own, reproducible order
            verbose=0,
            callbacks=[watch],
        )
    return watch


class _Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps history, best weights and checkpoints, calls the listeners, and ends a training that gets no better."""

    def __init__(
        self,
        batches: Batches,
        measured: Batches,
        listeners: Sequence[Listener],
        train: TrainParams,
        checkpoints: Checkpoints | None,
        classes: Sequence[str],
    ) -> None:
        super().__init__()
        self.batches, self.listeners, self.train, self.checkpoints = batches, listeners, train, checkpoints
        self.measured, self.classes = measured, classes
        self.history: list[dict[str, float]] = []
        self.best_weights: list[Any] = []
        self.gradients = optimizers.Gradients(train.optimizer)
        self._laps: dict[str, float] = {}  # seconds of the parts of an epoch
        self._last = 0.0

    def resume(self, model: keras.Model, checkpoints: Checkpoints) -> None:
        """Load the checkpoint, if there is one, into the model, and report its epochs to the listeners."""
        state, remarks = checkpoints.load()
        remarks += checkpoints.remarks()
        for listener in self.listeners:
            if state is not None or remarks:
                listener.on_resume(0 if state is None else len(state.history), remarks)
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
        """Return whether all epochs are done, or too many since the best one."""
        done, patience = len(self.history), self.train.stop_after
        late = patience is not None and done > 0 and done - epochs.best(self.history) >= patience
        return done >= self.train.epochs or late

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        rate = optimizers.plateau_rate(self.train.optimizer, epochs.scores(self.history))
        if rate is not None:
            self.model.optimizer.learning_rate.assign(rate)
        backend.bring(self.batches.share)
        self._last = time.monotonic()
        self.batches.epoch, self.batches.seconds = epoch, 0.0  # before the first minibatch: also after a resumption

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if batch + 1 >= len(self.batches) - 2:  # three steps show two gradients
            self.gradients.observe(self.model)
        for listener in self.listeners:
            listener.on_step(batch + 1, len(self.batches))
        interrupts.require_none()

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        interrupts.require_none()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        backend.bring(self.measured.share)
        self._lap("train")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._lap("validation")
        values = losses.named(logs or {})
        values["learning_rate"] = float(self.model.optimizer.learning_rate)
        if not all(abs(value) < float("inf") for value in values.values()):
            raise UserError(
                f"train: the loss is not finite (found {values['train_loss']} in epoch {epoch + 1}, expected a finite number). "
                "Fix: lower train.optimizer.learning_rate or train.optimizer.momentum"
            )
        values |= self.gradients.measured() | losses.confusion_values(self.model, self.classes)
        if self.train.model.l1 or self.train.model.l2:
            values["regularization"] = float(sum(float(loss) for loss in self.model.losses))
        self.history.append(values)
        if epochs.best(self.history) == len(self.history):
            self.best_weights = self.model.get_weights()
        if self.checkpoints is not None and backend.share().number == 0:
            variables = [np.asarray(variable) for variable in _variables(self.model)]
            slots = [np.asarray(variable) for variable in self.model.optimizer.variables]
            self.checkpoints.save(State(self.history, variables, slots, self.best_weights))
        self._lap("checkpoint")
        seconds = {**self._laps, "read": self.batches.seconds}
        for listener in self.listeners:
            listener.on_epoch(epoch + 1, values, seconds)
        self.model.stop_training = self.ended()

    def _lap(self, name: str) -> None:
        """End a part of an epoch."""
        now = time.monotonic()
        self._laps[name], self._last = now - self._last, now


def _variables(model: keras.Model) -> list[Any]:
    """Return all state of a model, weights and random number generators, except the metrics, which every epoch resets."""
    metrics = {id(variable) for variable in model.metrics_variables}
    return [variable for variable in model.variables if id(variable) not in metrics]
