"""Predictions of two models on the same shots -> is one of them really better?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
SEED = 1
AT_ONCE = 2**22
"""Shots that the bootstrap draws in one call, which bounds its memory to some tens of MB."""


@dataclass(frozen=True)
class Difference:
    """What the second model is worth less what the first is."""

    value: float
    low: float  # 95 % interval of the paired bootstrap
    high: float
    p: float  # chance of a difference at least as large, either way, if there were none


@dataclass(frozen=True)
class Accuracies:
    """Right and wrong answers of two models to the same shots, and the difference of their accuracies (-1 to 1)."""

    both: int  # shots that both models answer rightly
    only_first: int
    only_second: int
    neither: int
    difference: Difference


def accuracies(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Accuracies:
    """Compare which of the same shots (N,) each model is right on.

    The p-value is that of `mcnemar`, which T. G. Dietterich, Neural Comput. 10 (1998) 1895, recommends for models that are
    trained only once. Raises ValueError if N is 0 or they differ.
    """
    _require_pairs(first, second)
    shots, both = len(first), int((first & second).sum())
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    # Resampling shots draws these three counts from the multinomial distribution: the same, at once for any N.
    shares = np.array([only_first, only_second, shots - only_first - only_second]) / shots
    drawn = np.random.default_rng(SEED).multinomial(shots, shares, RESAMPLES)
    low, high = np.quantile((drawn[:, 1] - drawn[:, 0]) / shots, [0.025, 0.975])
    difference = Difference(
        (only_second - only_first) / shots, float(low), float(high), mcnemar(only_first, only_second)
    )
    return Accuracies(both, only_first, only_second, shots - both - only_first - only_second, difference)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of `only_first` against `only_second` shots that one model alone is right on.

    Were both equally good, each such shot would be a throw of a coin: exact binomial test of Q. McNemar, Psychometrika 12
    (1947) 153. 1 if there are none.
    """
    shots, fewer = only_first + only_second, min(only_first, only_second)
    places = np.arange(fewer)
    ratios = np.log((shots - places) / (places + 1))  # of a binomial coefficient to the one before, as a logarithm
    logarithms = np.concatenate([[0.0], np.cumsum(ratios)]) - shots * np.log(2)
    return min(1.0, 2 * float(np.exp(np.logaddexp.reduce(logarithms))))


def absolute_errors(first: NDArray[np.floating], second: NDArray[np.floating]) -> Difference:
    """Compare the mean absolute errors of two models, whose errors (N,) of the same shots are given: below 0, second is better.

    Paired bootstrap: B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993), sections 13.3 and 15.4.
    Raises ValueError if N is 0 or they differ.
    """
    _require_pairs(first, second)
    gains = np.abs(second).astype(np.float64) - np.abs(first)
    rng, shots = np.random.default_rng(SEED), len(gains)
    rows = max(AT_ONCE // shots, 1)
    sizes = [min(rows, RESAMPLES - done) for done in range(0, RESAMPLES, rows)]
    means = np.concatenate([gains[rng.integers(shots, size=(size, shots))].mean(axis=1) for size in sizes])
    low, high = np.quantile(means, [0.025, 0.975])
    beyond = min(int((means <= 0).sum()), int((means >= 0).sum()))  # where the interval of level 1 - p would end at 0
    p = min(1.0, 2 * (beyond + 1) / (RESAMPLES + 1))
    return Difference(float(gains.mean()), float(low), float(high), p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values raised for there being several: held against 0.05, one in twenty such sets makes any false claim.

    S. Holm, Scand. J. Stat. 6 (1979) 65. One stays as it is.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    raised, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        raised[i] = largest
    return raised


def _require_pairs(first: NDArray[np.generic], second: NDArray[np.generic]) -> None:
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(f"expected two arrays of the same shots (N,), got {first.shape}, {second.shape}")
