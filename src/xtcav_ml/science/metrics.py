"""Truth and prediction -> numbers with their uncertainty."""

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
    _require_fit(truth, probabilities)
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


def _require_fit(truth: NDArray[np.integer], probabilities: NDArray[np.floating]) -> None:
    if probabilities.ndim != 2 or truth.shape != probabilities.shape[:1] or not len(truth):
        raise ValueError(
            f"expected truth (N,) and probabilities (N, classes), got {truth.shape}, {probabilities.shape}"
        )


@dataclass(frozen=True)
class Calibration:
    """How far a classifier's confidence, its largest probability, is the rate at which it is right. NaN in empty bins."""

    edges: NDArray[np.float64]  # (bins + 1,), of confidence, 0 to 1; a bin holds its upper edge, not its lower one
    count: NDArray[np.int64]  # (bins,), shots
    confidence: NDArray[np.float64]  # (bins,), mean
    accuracy: NDArray[np.float64]  # (bins,)
    accuracy_low: NDArray[np.float64]  # (bins,), 95 % Wilson interval
    accuracy_high: NDArray[np.float64]
    expected_error: float  # mean over the shots of |accuracy - confidence| of their bin
    brier: float  # mean over the shots of the squared errors of all probabilities: 0 (certain, right) to 2 (certain, wrong)


def calibration(truth: NDArray[np.integer], probabilities: NDArray[np.floating], bins: int = 10) -> Calibration:
    """Compare confidence with accuracy, for truth (N,) and probabilities (N, classes), in `bins` equal bins.

    C. Guo et al., Proc. Mach. Learn. Res. 70 (2017) 1321; G. W. Brier, Mon. Weather Rev. 78 (1950) 1. Raises ValueError
    if N is 0 or the shapes do not fit.
    """
    _require_fit(truth, probabilities)
    sure = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == truth
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    hits = np.bincount(place, right, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(place, sure, minlength=bins) / count
        accuracy = hits / count
    low, high = np.transpose([wilson_interval(int(hit), int(shots)) for hit, shots in zip(hits, count, strict=True)])
    errors = probabilities.astype(np.float64) - np.eye(probabilities.shape[1])[truth]
    return Calibration(
        edges=edges,
        count=count,
        confidence=confidence,
        accuracy=accuracy,
        accuracy_low=np.where(count, low, np.nan),
        accuracy_high=np.where(count, high, np.nan),
        expected_error=float(np.nansum(count * np.abs(accuracy - confidence)) / len(truth)),
        brier=float(np.square(errors).sum(axis=1).mean()),
    )


@dataclass(frozen=True)
class Roc:
    """What a threshold on a score finds of the positives against what it takes of the negatives, for all thresholds."""

    false_positive_rate: NDArray[np.float64]  # (T,), from 0 to 1; NaN if there are no negatives
    true_positive_rate: NDArray[np.float64]  # (T,), from 0 to 1; NaN if there are no positives
    area: float  # chance that a positive scores above a negative, ties counted half; NaN if either is missing


def roc(positive: NDArray[np.bool_], score: NDArray[np.floating]) -> Roc:
    """Return the receiver operating characteristic of `score` (N,) for `positive` (N,), equal scores as one step.

    The area is exact: J. A. Hanley and B. J. McNeil, Radiology 143 (1982) 29. Raises ValueError if N is 0 or they differ.
    """
    hits, chosen = _thresholds(positive, score)
    alarms = chosen - hits
    found, all_alarms = hits[-1], alarms[-1]
    twice = int((np.diff(alarms) * (hits[1:] + hits[:-1])).sum())  # in integers: trapezia, without rounding
    pairs = int(found) * int(all_alarms)
    with np.errstate(invalid="ignore"):
        return Roc(alarms / all_alarms, hits / found, twice / (2 * pairs) if pairs else float("nan"))


@dataclass(frozen=True)
class PrecisionRecall:
    """How pure and how complete what a threshold on a score chooses is, for all thresholds. NaN if there are no positives."""

    recall: NDArray[np.float64]  # (T,), from 0 to 1
    precision: NDArray[np.float64]  # (T,), of which the first, where nothing is chosen yet, repeats the second
    average: float  # mean of the precision over the recall, in steps


def precision_recall(positive: NDArray[np.bool_], score: NDArray[np.floating]) -> PrecisionRecall:
    """Return precision and recall of `score` (N,) for `positive` (N,), equal scores as one step.

    The average adds no line between the thresholds, which would be too good: J. Davis and M. Goadrich, Proc. ICML (2006)
    233. Raises ValueError if N is 0 or they differ.
    """
    hits, chosen = _thresholds(positive, score)
    with np.errstate(invalid="ignore"):
        recall = hits / hits[-1]
    precision = hits[1:] / chosen[1:] if hits[-1] else np.full(len(hits) - 1, np.nan)
    average = float((np.diff(recall) * precision).sum())
    return PrecisionRecall(recall, np.concatenate([precision[:1], precision]), average)


def _thresholds(
    positive: NDArray[np.bool_], score: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many positives, and how many of all, score at least each distinct value, from none (0) to all (N)."""
    if positive.shape != score.shape or score.ndim != 1 or not len(score):
        raise ValueError(f"expected positive (N,) and score (N,), got {positive.shape}, {score.shape}")
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # of each group of equal scores
    hits = np.cumsum(positive[order], dtype=np.int64)[last]
    return np.concatenate([[0], hits]), np.concatenate([[0], last + 1])


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
