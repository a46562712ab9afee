"""Truth and prediction -> numbers with their uncertainty."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054
"""Half-width of the central 95 % of the normal distribution, in standard deviations."""


@dataclass(frozen=True)
class Classification:
    """What a classifier's predictions are worth. Rates are 0 to 1; NaN where there is nothing to divide by."""

    shots: int
    accuracy: float
    accuracy_low: float  # 95 % Wilson interval
    accuracy_high: float
    balanced_accuracy: float  # mean of the recalls of the classes that occur
    largest_class: float  # accuracy of always choosing the class that is most frequent here
    z_score: float  # of the accuracy against `largest_class`
    cross_entropy: float  # mean, nats
    precision: NDArray[np.float64]  # (classes,)
    recall: NDArray[np.float64]  # (classes,)
    confusion: NDArray[np.int64]  # (classes, classes), rows truth, columns prediction


def classification(truth: NDArray[np.integer], probabilities: NDArray[np.floating]) -> Classification:
    """Compare truth (N,) with probabilities (N, classes). Raises ValueError if N is 0 or the shapes do not fit."""
    if probabilities.ndim != 2 or truth.shape != probabilities.shape[:1] or not len(truth):
        raise ValueError(
            f"expected truth (N,) and probabilities (N, classes), got {truth.shape}, {probabilities.shape}"
        )
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    hits, shots = int(confusion.trace()), len(truth)
    low, high = wilson_interval(hits, shots)
    with np.errstate(invalid="ignore"):
        precision = confusion.diagonal() / confusion.sum(axis=0)
        recall = confusion.diagonal() / confusion.sum(axis=1)
    largest = float(confusion.sum(axis=1).max()) / shots
    chosen = probabilities[np.arange(shots), truth].astype(np.float64)
    return Classification(
        shots=shots,
        accuracy=hits / shots,
        accuracy_low=low,
        accuracy_high=high,
        balanced_accuracy=float(np.nanmean(recall)),
        largest_class=largest,
        z_score=z_score(hits, shots, largest),
        cross_entropy=float(-np.log(np.maximum(chosen, 1e-12)).mean()),
        precision=precision,
        recall=recall,
        confusion=confusion,
    )


def score(row: Mapping[str, float]) -> float:
    """Return what an epoch is worth, more is better.

    `val_accuracy` where classes are learned, less `val_squared_error` where numbers are, less `val_loss` where both are.
    """
    if "val_squared_error" not in row:
        return row["val_accuracy"]
    return -row["val_loss" if "val_accuracy" in row else "val_squared_error"]


def best_epoch(history: Sequence[Mapping[str, float]]) -> int:
    """Return the epoch (from 1) to keep: highest score, then lowest `val_cross_entropy`, then the earliest."""
    scores = [(score(row), -row.get("val_cross_entropy", 0.0)) for row in history]
    return scores.index(max(scores)) + 1


@dataclass(frozen=True)
class Regression:
    """What predictions of one number are worth, in its own unit. NaN where nothing was measured."""

    shots: int  # that have the number
    mean_error: float  # prediction less truth: bias
    mean_absolute_error: float
    rms_error: float
    spread: float  # standard deviation of the truth: the r.m.s. error of always saying its mean
    explained: float  # 1 - (rms_error / spread)^2


def regression(truth: NDArray[np.floating], predicted: NDArray[np.floating]) -> Regression:
    """Compare truth (N,), NaN where there is no such number, with predictions (N,). Raises ValueError if N differ."""
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise ValueError(f"expected truth (N,) and prediction (N,), got {truth.shape}, {predicted.shape}")
    known = np.isfinite(truth)
    if not known.any():
        return Regression(0, *[float("nan")] * 5)
    errors = predicted[known].astype(np.float64) - truth[known]
    rms, spread = float(np.sqrt(np.square(errors).mean())), float(truth[known].std(dtype=np.float64))
    return Regression(
        shots=int(known.sum()),
        mean_error=float(errors.mean()),
        mean_absolute_error=float(np.abs(errors).mean()),
        rms_error=rms,
        spread=spread,
        explained=1 - (rms / spread) ** 2 if spread else float("nan"),
    )


def wilson_interval(hits: int, shots: int, z: float = Z95) -> tuple[float, float]:
    """Return the interval of a proportion, 95 % by default, which holds for few shots and near 0 and 1 too.

    E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209. (0, 1) if there are no shots.
    """
    if shots == 0:
        return 0.0, 1.0
    rate = hits / shots
    centre = (rate + z**2 / (2 * shots)) / (1 + z**2 / shots)
    half = z / (1 + z**2 / shots) * np.sqrt(rate * (1 - rate) / shots + z**2 / (4 * shots**2))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def z_score(hits: int, shots: int, chance: float) -> float:
    """Return how many standard deviations `hits` lie above what `chance` (0 to 1) gives on average; NaN for 0 or 1."""
    if not 0 < chance < 1:
        return float("nan")
    return float((hits - shots * chance) / np.sqrt(shots * chance * (1 - chance)))
