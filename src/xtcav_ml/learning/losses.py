"""What a training lowers and what it is told by: the loss and the metrics of each head, by our names."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.learning.backend import keras
from xtcav_ml.learning.layer_plan import CLASS_HEAD, NUMBER_HEAD, Ends


def compiled(ends: Ends, numbers_sd: NDArray[np.float32], regression_weight: float) -> dict[str, Any]:
    """Return what Keras shall compile for each head: its loss, its weight and its metrics; `numbers_sd` (V,) as learned."""
    loss: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    if ends.classes:
        loss[CLASS_HEAD] = "sparse_categorical_crossentropy"
        metrics[CLASS_HEAD] = [
            Accuracy(ends.classes),
            keras.metrics.SparseCategoricalCrossentropy(name="cross_entropy"),
        ]
    if ends.numbers:
        loss[NUMBER_HEAD] = squared_error = masked_squared_error(numbers_sd)
        metrics[NUMBER_HEAD] = [keras.metrics.MeanMetricWrapper(squared_error, name="squared_error")]
    weights = {name: 1.0 if name == CLASS_HEAD else regression_weight for name in loss}
    return {"loss": loss, "metrics": metrics, "loss_weights": weights}


def masked_squared_error(sd: NDArray[np.float32]) -> Callable[[Any, Any], Any]:
    """Return a loss (batch,) of numbers (batch, V): mean of the squared errors in units of `sd` (V,), of NaN zero."""

    def squared_error(truth: Any, predicted: Any) -> Any:
        known = keras.ops.where(keras.ops.isnan(truth), predicted, truth)  # before the difference: 0 x NaN is NaN
        return keras.ops.mean(keras.ops.square((known - predicted) / sd), axis=-1)

    return squared_error


class Accuracy(keras.metrics.Metric):  # type: ignore[misc]
    """Part of the shots whose likeliest class is the right one; `confusion` counts the shots by truth and by what is said."""

    def __init__(self, classes: int, name: str = "accuracy") -> None:
        super().__init__(name=name)
        self.confusion = self.add_variable((classes, classes), "zeros", name="confusion")

    def update_state(self, truth: Any, probabilities: Any, sample_weight: Any = None) -> None:
        """Add a minibatch."""
        said = keras.ops.argmax(probabilities, axis=-1)
        truth = keras.ops.reshape(keras.ops.cast(truth, said.dtype), keras.ops.shape(said))
        truth, said = (keras.ops.one_hot(value, self.confusion.shape[0]) for value in (truth, said))
        self.confusion.assign_add(keras.ops.matmul(keras.ops.transpose(truth), said))

    def result(self) -> Any:
        """Return the accuracy so far."""
        return keras.ops.trace(self.confusion) / keras.ops.maximum(keras.ops.sum(self.confusion), 1)


def named(logs: Mapping[str, Any]) -> dict[str, float]:
    """Return Keras' values by our names: with two heads it puts each one's name before, and adds each one's loss."""
    found: dict[str, float] = {}
    for key, value in sorted(logs.items()):
        split, name = ("val", key.removeprefix("val_")) if key.startswith("val_") else ("train", key)
        if name not in (f"{CLASS_HEAD}_loss", f"{NUMBER_HEAD}_loss"):
            found[f"{split}_{name.removeprefix(f'{CLASS_HEAD}_').removeprefix(f'{NUMBER_HEAD}_')}"] = float(value)
    return found


def predicted(model: keras.Model) -> dict[str, float]:
    """Return what was said of the validation shots, where classes are learned, by the numbers of the classes.

    `val_predicted_1` is the part of them that is predicted as class 1, `val_confusion/0_1` how many of class 0 are.
    """
    tables = [np.asarray(metric.confusion) for metric in _metrics(model) if isinstance(metric, Accuracy)]
    if not tables:
        return {}
    shares = tables[0].sum(axis=0) / max(tables[0].sum(), 1)
    found = {f"val_predicted_{value}": float(share) for value, share in enumerate(shares)}
    return found | {f"val_confusion/{truth}_{said}": float(count) for (truth, said), count in np.ndenumerate(tables[0])}


def _metrics(model: keras.Model) -> list[Any]:
    """Return the metrics of all heads: Keras lists the compiled ones as one."""
    return [inner for outer in model.metrics for inner in (outer.metrics if hasattr(outer, "metrics") else [outer])]
