"""Statements that hold as often as they say: a temperature for the probabilities, sets of classes, intervals of numbers.

All of them are measured on shots that the network was not trained on: the validation set, of which its epoch was chosen.
"""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from xtcav_ml.config.base import Section
from xtcav_ml.science.thresholds import CONFIDENCE

Share = Annotated[float, Field(ge=0, le=1)]
Floats = NDArray[np.floating]

TEMPERATURES = (0.05, 20.0)
DIGITS, STEPS = 4, 10**6
"""Digits after the point of a temperature, and steps of a probability: finer ones depend on the processor, and mean nothing."""


class Statements(Section):
    """What a model says beside its predictions."""

    coverage: float = Field(
        gt=0, lt=1
    )  # share of the shots of each class, or with a number, for which a statement is true
    temperature: float | None = Field(
        gt=0, le=TEMPERATURES[1]
    )  # of the probabilities; None where no classes are learned
    least: tuple[Share, ...]  # of each class: the probability from which it is in the set
    half_width: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)] | None, ...]  # of each number's interval
    # None: too few shots have the number to say

    def sets(self, probabilities: Floats) -> NDArray[np.bool_]:
        """Return which classes the set of each shot has, (N, classes); none where probabilities are NaN."""
        return probabilities >= np.array(self.least, np.float32)

    def ends(self, numbers: Floats) -> tuple[Floats, Floats]:
        """Return the lower and the upper ends of the intervals of numbers (N, V); NaN where a number or a width is unknown."""
        half = np.array([np.nan if width is None else width for width in self.half_width], np.float32)
        return numbers - half, numbers + half


def temperature(labels: NDArray[np.integer], probabilities: Floats) -> float:
    """Return the T for which probabilities (N, classes) to the power of 1 / T, normalized, fit labels (N,) best.

    It minimizes the cross-entropy, C. Guo et al., Proc. Mach. Learn. Res. 70 (2017) 1321, with one more label of each class,
    shared by all shots, as J. Platt, Advances in Large Margin Classifiers (1999) 61, did: a network that is always right is
    not made certain.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    shots, classes = probabilities.shape
    targets = (np.eye(classes)[labels] * shots + 1) / (shots + classes)
    scores = _scores(probabilities)

    def cross_entropy(log_temperature: float) -> float:
        return -float((targets * log_softmax(scores / np.exp(log_temperature), axis=1)).sum())

    found = minimize_scalar(cross_entropy, bounds=np.log(TEMPERATURES), method="bounded")
    return round(float(np.exp(found.x)), DIGITS)


def tempered(probabilities: Floats, temperature: float) -> NDArray[np.float64]:
    """Return probabilities (N, classes) at another temperature: to the power of 1 / `temperature`, normalized."""
    from scipy.special import softmax

    return np.asarray(softmax(_scores(probabilities) / temperature, axis=1))


def _scores(probabilities: Floats) -> NDArray[np.float64]:
    return np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))


def least_probabilities(labels: NDArray[np.integer], probabilities: Floats, coverage: float) -> list[float]:
    """Return of each class the probability (N, classes) that at least `coverage` of new shots of that class will have.

    That is true on average over sets of shots like these; of one set of n it spreads after a beta distribution of n + 1.
    Class by class, so that rare ones are covered as often: M. Sadinle, J. Lei and L. Wasserman, J. Am. Stat. Assoc. 114 (2019)
    223. It is 0, so that a set always has the class, where labels (N,) has too few shots of it to say.
    """
    least = []
    for label in range(probabilities.shape[1]):
        scores = np.sort(probabilities[labels == label, label])
        below = _rank(1 - coverage, len(scores))
        least.append(float(np.floor(STEPS * scores[below - 1]) / STEPS) if below else 0.0)
    return least


def half_width(truth: Floats, predicted: Floats, coverage: float) -> float | None:
    """Return the distance from predictions (N,) within which `coverage` of new truths will be; None for too few shots.

    Split conformal: J. Lei et al., J. Am. Stat. Assoc. 113 (2018) 1094. Shots whose truth (N,) is NaN are left out.
    """
    errors = np.sort(np.abs(predicted.astype(np.float64) - truth)[np.isfinite(truth)])
    beyond = _rank(1 - coverage, len(errors))
    return float(f"{errors[-beyond]:.6g}") if beyond else None


def likely_coverage(shots: int, coverage: float) -> tuple[float, float]:
    """Return the ends between which the share of a class, or number, that is covered lies for 95 % of all validation sets.

    `shots` is how many of such a set have the class or number: thresholds are estimates, too. The share of new shots is
    Beta(n + 1 - l, l), l of n + 1 ranks being outside: V. Vovk, Mach. Learn. 92 (2013) 349. (1, 1) for too few to say.
    """
    from scipy.stats import beta

    outside = _rank(1 - coverage, shots)
    if not outside:
        return 1.0, 1.0
    low, high = beta.ppf((0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2), shots + 1 - outside, outside)
    return float(low), float(high)


def _rank(share: float, shots: int) -> int:
    """Return how many of `shots` + 1 ranks, all equally likely for a new shot, may fall outside."""
    return int(np.floor(share * (shots + 1) + 1e-9))  # 0.1 * 20 is 2, though 1 - 0.9 is less than 0.1
