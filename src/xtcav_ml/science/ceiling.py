"""How often a label that is drawn again is the predicted one, and how often it could be at best."""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.science.thresholds import CONFIDENCE


@dataclass(frozen=True)
class Share:
    """A mean over the shots of a test set, and the 95 % interval of that over all such shots. NaN if there are none."""

    value: float
    low: float
    high: float


def bayes_accuracy(redrawn: NDArray[np.integer]) -> Share:
    """Return the accuracy of naming the likeliest label of every shot, from how often each is drawn, (N, classes).

    No network that sees less than what the labels are drawn from is better in the mean. The likeliest label is that of all
    other draws, so that no draw is compared with a choice that it has influenced, which would be too good: the mean is exactly
    the accuracy of whoever knows one draw fewer. Equally likely ones count in parts. Shots with fewer than two draws are left
    out.
    """
    kept = redrawn[redrawn.sum(axis=1) > 1].astype(np.int64)
    classes = np.eye(redrawn.shape[1], dtype=np.int64)
    right = np.zeros(len(kept))
    for label, one in enumerate(classes):  # one draw of this label is left out
        others = kept - one
        most = others.max(axis=1)
        right += np.where(others[:, label] == most, kept[:, label] / (others == most[:, None]).sum(axis=1), 0)
    return _mean(right / kept.sum(axis=1))


def expected_accuracy(redrawn: NDArray[np.integer], predicted: NDArray[np.integer]) -> Share:
    """Return the mean share of the draws, (N, classes), that are the predicted label (N,): the accuracy without its chance.

    Shots without a draw are left out.
    """
    draws = redrawn.sum(axis=1)
    kept = np.flatnonzero(draws)
    return _mean(redrawn[kept, predicted[kept]] / draws[kept])


def label_luck(
    redrawn: NDArray[np.integer], labels: NDArray[np.integer], predicted: NDArray[np.integer]
) -> tuple[Share, float]:
    """Return how many more of the labels (N,) are the predicted ones than of labels drawn again, and its standard score.

    Both are near 0 unless the predictions know the noise of the labels, or the shots were chosen by it. The score is that of
    labels which are one draw more: the chances of a shot are those of its draws, with half a draw more for either case, so
    that none is certain. Shots without a draw are left out.
    """
    draws = redrawn.sum(axis=1)
    kept = np.flatnonzero(draws)
    drawn, draws = redrawn[kept, predicted[kept]], draws[kept]
    gains = (labels == predicted)[kept] - drawn / draws
    chances = (drawn + 0.5) / (draws + 1)
    error = sqrt(float((chances * (1 - chances) * (1 + 1 / draws)).sum()))
    return _mean(gains, least=-1.0), float(gains.sum()) / error if error else 0.0


def _mean(shares: NDArray[np.floating], least: float = 0.0) -> Share:
    if not len(shares):
        return Share(*[float("nan")] * 3)
    value = float(shares.mean())
    half = (
        NormalDist().inv_cdf(0.5 + CONFIDENCE / 2) * float(shares.std(ddof=min(len(shares) - 1, 1))) / sqrt(len(shares))
    )
    return Share(value, max(value - half, least), min(value + half, 1.0))
