"""Predictions of two models on the same shots -> is one of them significantly better, or at least not worse?

Tests are scipy's, which is imported where it is used: it takes most of a second. Our own are the bootstrap of accuracies,
whose multinomial draws give for any number of shots at once what `scipy.stats.bootstrap` would draw shot by shot, and
Holm's correction, which scipy lacks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.science.thresholds import CONFIDENCE, POWER

RESAMPLES = 10_000
BOOTSTRAP_SEED = 1
DRAWN_AT_ONCE = 2**22  # shots that the bootstrap draws in one call, which bounds its memory to some tens of MB
TAILS = (0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2)  # quantiles at the ends of an interval


@dataclass(frozen=True)
class Difference:
    """The value of the second model minus that of the first."""

    value: float
    low: float  # 95 % interval
    high: float
    p: float  # chance of a difference at least as large, either way, if there were none
    freedom: float = inf  # degrees of freedom of its error, as of Student's t
    of_seeds: float = 0.0  # that part of its error which more seeds would reduce, and more shots would not

    def __neg__(self) -> "Difference":
        """Return the difference the other way round."""
        return replace(self, value=-self.value, low=-self.high, high=-self.low)

    def at_least(self, half: float) -> "Difference":
        """Return the same with an interval of at least `half` to either side, within -1 to 1 as the value is."""
        low, high = max(self.value - half, -1.0), min(self.value + half, 1.0)
        return replace(self, low=min(self.low, low), high=max(self.high, high))

    @property
    def error(self) -> float:
        """Return the standard error."""
        return (self.high - self.low) / (2 * _quantile(TAILS[1], self.freedom))

    @property
    def found(self) -> float:
        """Return the size of a true difference that would be found significant with probability POWER."""
        return self.error * (_quantile(TAILS[1], self.freedom) + _quantile(POWER, self.freedom))


def _quantile(probability: float, freedom: float) -> float:
    """Return a quantile of Student's t; without scipy where it is the normal distribution."""
    if freedom == inf:
        return NormalDist().inv_cdf(probability)
    from scipy.stats import t

    return float(t.ppf(probability, freedom))


@dataclass(frozen=True)
class Accuracies:
    """Right and wrong answers of two models to the same shots, and the difference of their accuracies (-1 to 1)."""

    both: int  # shots that both models answer rightly
    only_first: int
    only_second: int
    neither: int
    difference: Difference


def accuracies(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Accuracies:
    """Compare the right answers (N,) of two models to the same shots.

    The p-value is that of `mcnemar`, which T. G. Dietterich, Neural Comput. 10 (1998) 1895, recommends for models that are
    trained only once. Raises ValueError if N is 0 or they differ.
    """
    _require_pairs(first, second)
    shots, both = len(first), int((first & second).sum())
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    # Resampling shots draws these three counts from the multinomial distribution: the same, at once for any N.
    shares = np.array([only_first, only_second, shots - only_first - only_second]) / shots
    drawn = np.random.default_rng(BOOTSTRAP_SEED).multinomial(shots, shares, RESAMPLES)
    low, high = np.quantile((drawn[:, 1] - drawn[:, 0]) / shots, TAILS)
    gain, p = (only_second - only_first) / shots, mcnemar(only_first, only_second)
    difference = Difference(gain, float(low), float(high), p).at_least(unseen(shots))
    return Accuracies(both, only_first, only_second, shots - both - only_first - only_second, difference)


def unseen(shots: int) -> float:
    """Return how large the share of something may be that none of `shots` had: 3.7 of as many, or all of one.

    Exact end of the 95 % interval. No difference of two accuracies is known better, even if no shot differs.
    """
    return 1 - float(TAILS[0] ** (1 / shots))


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of `only_first` against `only_second` shots that one model alone is right on.

    Were both equally good, each such shot would be a throw of a coin: exact binomial test of Q. McNemar, Psychometrika 12
    (1947) 153. 1 if there are none.
    """
    from scipy.stats import binomtest

    shots = only_first + only_second
    return float(binomtest(min(only_first, only_second), shots).pvalue) if shots else 1.0


def mcnemar_z(only_first: int, only_second: int) -> float:
    """Return the advantage of the second model in standard deviations, as in `mcnemar`; 0 if no shot differs."""
    shots = only_first + only_second
    return (only_second - only_first) / sqrt(shots) if shots else 0.0


def absolute_errors(first: NDArray[np.floating], second: NDArray[np.floating]) -> Difference:
    """Compare the mean absolute errors of two models by their errors (N,) of the same shots: below 0, second is better.

    Paired bootstrap: B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993), sections 13.3 and 15.4.
    Raises ValueError if N is 0 or they differ.
    """
    _require_pairs(first, second)
    from scipy.stats import bootstrap

    gains = np.abs(second).astype(np.float64) - np.abs(first)
    sample = gains if len(gains) > 1 else gains.repeat(2)  # scipy refuses one shot
    drawn = bootstrap(
        (sample,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(DRAWN_AT_ONCE // len(sample), 1),
        method="percentile",
        confidence_level=CONFIDENCE,
        rng=np.random.default_rng(BOOTSTRAP_SEED),
    )
    means, interval = drawn.bootstrap_distribution, drawn.confidence_interval
    beyond = min(int((means <= 0).sum()), int((means >= 0).sum()))  # where the interval of level 1 - p would end at 0
    p = min(1.0, 2 * (beyond + 1) / (RESAMPLES + 1))
    return Difference(float(gains.mean()), float(interval.low), float(interval.high), p)


@dataclass(frozen=True)
class NonInferiority:
    """Whether the second is not worse than the first by a margin or more, and whether the shots suffice."""

    shown: bool  # the interval of its gain ends above minus the margin
    power: float  # chance that one that is equally good would pass, 0 to 1
    shots: float  # that would give a power of POWER; infinite for a margin of 0, or where more seeds alone would


def non_inferiority(gain: Difference, margin: float, shots: int) -> NonInferiority:
    """Return whether a `gain` (positive if the second is the better one) on `shots` shots is above minus `margin`.

    G. Piaggio et al., JAMA 308 (2012) 2594. The power takes the error to be known.
    """
    from scipy.stats import t

    limit = _quantile(TAILS[1], gain.freedom)
    power = float(t.cdf(margin / gain.error - limit, gain.freedom)) if gain.error else float(margin > 0)
    largest = margin / (limit + _quantile(POWER, gain.freedom))  # error that gives POWER
    room = largest**2 - gain.of_seeds**2
    needed = shots * (gain.error**2 - gain.of_seeds**2) / room if room > 0 else inf
    return NonInferiority(gain.low > -margin, power, needed)


def gain_of_best(baseline: float, best: float, shots: int, choices: int) -> tuple[float, float]:
    """Return the 95 % interval of the gain in accuracy of the best of `choices` models over a baseline, both on `shots` shots.

    Wide enough for the gains of all `choices` at once (Bonferroni), since the best is the one that was lucky, too. Each gain
    has the interval of A. Agresti and B. Caffo, Am. Stat. 54 (2000) 280, for accuracies on different shots: on the same ones,
    of which the answers are not known here, it is narrower.
    """
    shares = [(share * shots + 1) / (shots + 2) for share in (baseline, best)]
    error = sqrt(sum(share * (1 - share) / (shots + 2) for share in shares))
    z = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / (2 * choices))
    gain = shares[1] - shares[0]
    return max(gain - z * error, -1.0), min(gain + z * error, 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values raised because there are several: below 0.05, one in twenty such sets makes any false claim.

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
