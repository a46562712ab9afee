"""The loss and the metrics of each head, and their names in the history."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.learning.backend import keras
from xtcav_ml.learning.layer_plan import CLASS_HEAD, NUMBER_HEAD, Ends
from xtcav_ml.science import metric_names


def compiled(ends: Ends, numbers_sd: NDArray[np.float32], regression_weight: float) -> dict[str, Any]:
    """Return the arguments of `model.compile`: loss, weight and metrics of each head; `numbers_sd` (V,) in the training set."""
    loss: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    if ends.classes:
        loss[CLASS_HEAD] = "sparse_categorical_crossentropy"
        cross_entropy = keras.metrics.SparseCategoricalCrossentropy(name="cross_entropy")
        metrics[CLASS_HEAD] = [Accuracy(ends.classes), cross_entropy]
    if ends.numbers:
        loss[NUMBER_HEAD] = squared_error = masked_squared_error(numbers_sd)
        metrics[NUMBER_HEAD] = [keras.metrics.MeanMetricWrapper(squared_error, name="squared_error")]
    weights = {name: 1.0 if name == CLASS_HEAD else regression_weight for name in loss}
    return {"loss": loss, "metrics": metrics, "loss_weights": weights}


def masked_squared_error(sd: NDArray[np.float32]) -> Callable[[Any, Any], Any]:
    """Return a loss (batch,) of numbers (batch, V): mean squared error in units of `sd` (V,), of absent ones (NaN) zero."""

    def squared_error(truth: Any, predicted: Any) -> Any:
        filled = keras.ops.where(keras.ops.isnan(truth), predicted, truth)  # before the difference: 0 x NaN is NaN
        return keras.ops.mean(keras.ops.square((filled - predicted) / sd), axis=-1)

    return squared_error


class Accuracy(keras.metrics.Metric):  # type: ignore[misc]
    """Fraction of the shots whose likeliest class is the right one; `confusion` counts shots by true and predicted class."""

    def __init__(self, classes: int, name: str = "accuracy") -> None:
        super().__init__(name=name)
        self.confusion = self.add_variable((classes, classes), "zeros", name="confusion")

    def update_state(self, truth: Any, probabilities: Any, sample_weight: Any = None) -> None:
        """Add a minibatch."""
        predicted = keras.ops.argmax(probabilities, axis=-1)
        truth = keras.ops.reshape(keras.ops.cast(truth, predicted.dtype), keras.ops.shape(predicted))
        truth, predicted = (keras.ops.one_hot(value, self.confusion.shape[0]) for value in (truth, predicted))
        self.confusion.assign_add(keras.ops.matmul(keras.ops.transpose(truth), predicted))

    def result(self) -> Any:
        """Return the accuracy so far."""
        return keras.ops.trace(self.confusion) / keras.ops.maximum(keras.ops.sum(self.confusion), 1)


def named(logs: Mapping[str, Any]) -> dict[str, float]:
    """Return Keras' values by the names of the history: with two heads Keras prefixes each head's, and adds its loss."""
    values: dict[str, float] = {}
    for key, value in sorted(logs.items()):
        split, name = ("val", key.removeprefix("val_")) if key.startswith("val_") else ("train", key)
        if name not in (f"{CLASS_HEAD}_loss", f"{NUMBER_HEAD}_loss"):
            values[f"{split}_{name.removeprefix(f'{CLASS_HEAD}_').removeprefix(f'{NUMBER_HEAD}_')}"] = float(value)
    return values


def confusion_values(model: keras.Model, classes: Sequence[str]) -> dict[str, float]:
    """Return the predictions of the validation shots by the names of the classes; empty where none are learned.

    They are the fraction that is predicted as each class, and the number of shots of each that is predicted as each.
    """
    metrics = [
        each for outer in model.metrics for each in getattr(outer, "metrics", [outer])
    ]  # Keras lists them as one
    tables = [np.asarray(metric.confusion) for metric in metrics if isinstance(metric, Accuracy)]
    if not tables:
        return {}
    shares = tables[0].sum(axis=0) / max(tables[0].sum(), 1)
    counts = {metric_names.confused(classes[i], classes[j]): float(n) for (i, j), n in np.ndenumerate(tables[0])}
    return {metric_names.predicted(label): float(share) for label, share in zip(classes, shares, strict=True)} | counts
