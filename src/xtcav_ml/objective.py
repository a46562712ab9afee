"""What a training lowers and what it is told by: the loss and the metrics of each head, by our names."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.backend import keras
from xtcav_ml.geometry import CLASSES, NUMBERS, Ends


def compiled(ends: Ends, numbers_sd: NDArray[np.float32], regression_weight: float) -> dict[str, Any]:
    """Return what Keras shall compile for each head: its loss, its weight and its metrics; `numbers_sd` (V,) as learned."""
    loss: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    if ends.classes:
        loss[CLASSES] = "sparse_categorical_crossentropy"
        metrics[CLASSES] = [
            Accuracy(ends.classes),
            keras.metrics.SparseCategoricalCrossentropy(name="cross_entropy"),
        ]
    if ends.numbers:
        loss[NUMBERS] = squared_error = masked_squared_error(numbers_sd)
        metrics[NUMBERS] = [keras.metrics.MeanMetricWrapper(squared_error, name="squared_error")]
    weights = {name: 1.0 if name == CLASSES else regression_weight for name in loss}
    return {"loss": loss, "metrics": metrics, "loss_weights": weights}


def masked_squared_error(sd: NDArray[np.float32]) -> Callable[[Any, Any], Any]:
    """Return a loss (batch,) of numbers (batch, V): mean of the squared errors in units of `sd` (V,), of NaN zero."""

    def squared_error(truth: Any, predicted: Any) -> Any:
        known = keras.ops.where(keras.ops.isnan(truth), predicted, truth)  # before the difference: 0 x NaN is NaN
        return keras.ops.mean(keras.ops.square((known - predicted) / sd), axis=-1)

    return squared_error


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


def named(logs: Mapping[str, Any]) -> dict[str, float]:
    """Return Keras' values by our names: with two heads it puts each one's name before, and adds each one's loss."""
    found: dict[str, float] = {}
    for key, value in sorted(logs.items()):
        split, name = ("val", key.removeprefix("val_")) if key.startswith("val_") else ("train", key)
        if name not in (f"{CLASSES}_loss", f"{NUMBERS}_loss"):
            found[f"{split}_{name.removeprefix(f'{CLASSES}_').removeprefix(f'{NUMBERS}_')}"] = float(value)
    return found


def predicted(model: keras.Model) -> dict[str, float]:
    """Return which part of the validation shots is predicted as each class (by number), where classes are learned."""
    counts = [metric.counts for metric in _metrics(model) if isinstance(metric, Accuracy)]
    if not counts:
        return {}
    found = np.asarray(counts[0])
    return {f"val_predicted_{value}": float(share) for value, share in enumerate(found / max(found.sum(), 1))}


def _metrics(model: keras.Model) -> list[Any]:
    """Return the metrics of all heads: Keras lists the compiled ones as one."""
    return [inner for outer in model.metrics for inner in (outer.metrics if hasattr(outer, "metrics") else [outer])]
