"""Truth and prediction -> numbers with their uncertainty.

Counts, curves and intervals are scikit-learn's and scipy's. Our own are: the cross-entropy (`log_loss` clips at the last
bit of float32), the calibration (`calibration_curve` drops the counts that the intervals need), the Brier score
(`brier_score_loss` warns of probabilities that were rounded in a table), and moments, which numpy has. Both libraries are
imported where they are used: they take a second.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.science.significance import mcnemar_z
from xtcav_ml.science.thresholds import CALIBRATION_BINS, CONFIDENCE

NULL_DRAWS, NULL_SEED = 1000, 1  # test sets that are drawn as they would be if all probabilities were right


@dataclass(frozen=True)
class Classification:
    """Quality of a classifier's predictions. Rates are 0 to 1; NaN where there is nothing to divide by."""

    shots: int
    accuracy: float
    accuracy_low: float  # 95 % Wilson interval
    accuracy_high: float
    balanced_accuracy: float  # mean of the recalls of the classes that occur
    largest_class: float  # accuracy of always choosing the class that is most frequent here
    z_score: float  # of the accuracy above `largest_class`, paired: standard deviations of McNemar's test
    cross_entropy: float  # mean, nats
    precision: NDArray[np.float64]  # (classes,)
    recall: NDArray[np.float64]  # (classes,)
    confusion: NDArray[np.int64]  # (classes, classes), rows truth, columns prediction


def classification(truth: NDArray[np.integer], probabilities: NDArray[np.floating]) -> Classification:
    """Compare truth (N,) with probabilities (N, classes). Raises ValueError if N is 0 or the shapes do not fit."""
    from sklearn.metrics import confusion_matrix, precision_score, recall_score

    _require_fit(truth, probabilities)
    classes, predicted = np.arange(probabilities.shape[1]), probabilities.argmax(axis=1)
    confusion = confusion_matrix(truth, predicted, labels=classes)
    hits, shots, counts = int(confusion.trace()), len(truth), confusion.sum(axis=1)
    low, high = wilson_interval(hits, shots)
    rates = {"labels": classes, "average": None, "zero_division": np.nan}
    recall = recall_score(truth, predicted, **rates)
    right, always = predicted == truth, truth == counts.argmax()
    of_truth = probabilities[np.arange(shots), truth].astype(np.float64)
    return Classification(
        shots=shots,
        accuracy=hits / shots,
        accuracy_low=low,
        accuracy_high=high,
        balanced_accuracy=float(np.nanmean(recall)),
        largest_class=int(counts.max()) / shots,
        z_score=mcnemar_z(int((always & ~right).sum()), int((right & ~always).sum())),
        cross_entropy=float(-np.log(np.maximum(of_truth, 1e-12)).mean()),
        precision=precision_score(truth, predicted, **rates),
        recall=recall,
        confusion=confusion,
    )


def chance_calibration_error(
    probabilities: NDArray[np.floating], bins: int = CALIBRATION_BINS, draws: int = NULL_DRAWS
) -> tuple[float, float]:
    """Return the 95 % interval of the expected calibration error if all probabilities (N, classes) were exactly right.

    The labels are drawn `draws` times from the probabilities. Chance alone gives such errors: J. Vaicenavicius et al., Proc.
    AISTATS (2019) 3459. Raises ValueError if N is 0.
    """
    if not len(probabilities):
        raise ValueError("expected probabilities of at least one shot, got none")
    sure = np.sort(probabilities.max(axis=1).astype(np.float64))
    edges = np.searchsorted(sure, np.linspace(0, 1, bins + 1), side="right")[
        1:-1
    ]  # shots in order, the bins one by one
    starts = np.unique(np.append(0, edges[edges < len(sure)]))
    rng, errors = np.random.default_rng(NULL_SEED), []
    for _ in range(draws):
        excess = np.add.reduceat((rng.random(len(sure)) < sure) - sure, starts)
        errors.append(np.abs(excess).sum() / len(sure))
    low, high = np.quantile(errors, (0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2))
    return float(low), float(high)


def _require_fit(truth: NDArray[np.integer], probabilities: NDArray[np.floating]) -> None:
    if probabilities.ndim != 2 or truth.shape != probabilities.shape[:1] or not len(truth):
        raise ValueError(f"expected truth (N,), probabilities (N, classes), got {truth.shape}, {probabilities.shape}")


@dataclass(frozen=True)
class Calibration:
    """Confidence of a classifier, its largest probability, against the rate at which it is right. NaN in empty bins."""

    edges: NDArray[np.float64]  # (bins + 1,), of confidence, 0 to 1; a bin holds its upper edge, not its lower one
    count: NDArray[np.int64]  # (bins,), shots
    confidence: NDArray[np.float64]  # (bins,), mean
    accuracy: NDArray[np.float64]  # (bins,)
    accuracy_low: NDArray[np.float64]  # (bins,), 95 % Wilson interval
    accuracy_high: NDArray[np.float64]
    expected_error: float  # mean over the shots of |accuracy - confidence| of their bin
    brier: float  # mean over the shots of the squared errors of all probabilities: 0 (certain, right) to 2 (certain, wrong)


def calibration(
    truth: NDArray[np.integer], probabilities: NDArray[np.floating], bins: int = CALIBRATION_BINS
) -> Calibration:
    """Compare confidence with accuracy, for truth (N,) and probabilities (N, classes), in `bins` equal bins.

    C. Guo et al., Proc. Mach. Learn. Res. 70 (2017) 1321; G. W. Brier, Mon. Weather Rev. 78 (1950) 1. Raises ValueError
    if N is 0 or the shapes do not fit.
    """
    _require_fit(truth, probabilities)
    sure = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == truth
    edges = np.linspace(0, 1, bins + 1)
    bin_of = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, bins - 1)
    count, hits = np.bincount(bin_of, minlength=bins), np.bincount(bin_of, right, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence, accuracy = np.bincount(bin_of, sure, minlength=bins) / count, hits / count
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
    """Rates of positives and of negatives above a threshold on a score, for all thresholds."""

    false_positive_rate: NDArray[np.float64]  # (T,), from 0 to 1; NaN if there are no negatives
    true_positive_rate: NDArray[np.float64]  # (T,), from 0 to 1; NaN if there are no positives
    area: float  # chance that a positive scores above a negative, ties counted half; NaN if either is missing


def roc(positive: NDArray[np.bool_], score: NDArray[np.floating]) -> Roc:
    """Return the receiver operating characteristic of `score` (N,) for `positive` (N,), equal scores as one step.

    The area is exact: J. A. Hanley and B. J. McNeil, Radiology 143 (1982) 29. Raises ValueError if N is 0 or they differ.
    """
    from scipy.stats import rankdata
    from sklearn.exceptions import UndefinedMetricWarning
    from sklearn.metrics import roc_curve

    _require_scores(positive, score)
    with warnings.catch_warnings(action="ignore", category=UndefinedMetricWarning):
        false_positive_rate, true_positive_rate, _ = roc_curve(positive, score, drop_intermediate=False)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    # Pairs in the right order; exact, unlike a sum of trapezia.
    ordered = rankdata(score)[positive].sum() - positives * (positives + 1) / 2
    area = float(ordered / (positives * negatives)) if positives and negatives else float("nan")
    return Roc(false_positive_rate, true_positive_rate, area)


@dataclass(frozen=True)
class PrecisionRecall:
    """Purity and completeness of the shots above a threshold on a score, for all thresholds. NaN without positives."""

    recall: NDArray[np.float64]  # (T,), from 0 to 1
    precision: NDArray[np.float64]  # (T,); the first, where no shot is above, repeats the second
    average: float  # mean of the precision over the recall, in steps


def precision_recall(positive: NDArray[np.bool_], score: NDArray[np.floating]) -> PrecisionRecall:
    """Return precision and recall of `score` (N,) for `positive` (N,), equal scores as one step.

    The average adds no line between the thresholds, which would be too good: J. Davis and M. Goadrich, Proc. ICML (2006)
    233. Raises ValueError if N is 0 or they differ.
    """
    from sklearn.metrics import precision_recall_curve

    _require_scores(positive, score)
    if not positive.any():
        undefined = np.full(len(np.unique(score)) + 1, np.nan)
        return PrecisionRecall(undefined, undefined, float("nan"))
    falling_precision, falling_recall, _ = precision_recall_curve(positive, score)
    recall, precision = falling_recall[::-1], falling_precision[::-1].copy()
    precision[0] = precision[1]  # not scikit-learn's 1, which no threshold reaches
    return PrecisionRecall(recall, precision, float((np.diff(recall) * precision[1:]).sum()))


def _require_scores(positive: NDArray[np.bool_], score: NDArray[np.floating]) -> None:
    if positive.shape != score.shape or score.ndim != 1 or not len(score):
        raise ValueError(f"expected positive (N,) and score (N,), got {positive.shape}, {score.shape}")


@dataclass(frozen=True)
class Regression:
    """Quality of the predictions of one number, in its own unit. NaN where nothing was measured."""

    shots: int  # that have the number
    mean_error: float  # prediction minus truth: bias
    mean_absolute_error: float
    rms_error: float
    spread: float  # standard deviation of the truth: the r.m.s. error of always predicting its mean
    explained: float  # 1 - (rms_error / spread)^2


def regression(truth: NDArray[np.floating], predicted: NDArray[np.floating]) -> Regression:
    """Compare truth (N,), NaN where there is no such number, with predictions (N,). Raises ValueError if N differ."""
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise ValueError(f"expected truth (N,) and prediction (N,), got {truth.shape}, {predicted.shape}")
    finite = np.isfinite(truth)
    if not finite.any():
        return Regression(0, *[float("nan")] * 5)
    errors = predicted[finite].astype(np.float64) - truth[finite]
    rms, spread = float(np.sqrt(np.square(errors).mean())), float(truth[finite].std(dtype=np.float64))
    return Regression(
        shots=int(finite.sum()),
        mean_error=float(errors.mean()),
        mean_absolute_error=float(np.abs(errors).mean()),
        rms_error=rms,
        spread=spread,
        explained=1 - (rms / spread) ** 2 if spread else float("nan"),
    )


def wilson_interval(hits: int, shots: int) -> tuple[float, float]:
    """Return the 95 % interval of a proportion, which holds for few shots and near 0 and 1 too.

    E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209. (0, 1) if there are no shots.
    """
    from scipy.stats import binomtest

    if shots == 0:
        return 0.0, 1.0
    interval = binomtest(hits, shots).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)
