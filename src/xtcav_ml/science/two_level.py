"""Scores of settings that were trained with several seeds, on the same shots -> their mean and difference, with both errors.

Other seeds give other networks, and other shots other scores: a mean over few of either is uncertain by both, and their
variances add up. The noise of a single answer is in both of them, which makes the sum somewhat too large, never too small:
A. B. Owen, Ann. Appl. Stat. 1 (2007) 386. A handful of seeds hardly shows its own variance. Student's t allows for that, with
the degrees of freedom of F. E. Satterthwaite, Biometrics Bull. 2 (1946) 110; a bootstrap of five seeds would not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan, sqrt

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.science.significance import Difference, unseen
from xtcav_ml.science.thresholds import CONFIDENCE

Scores = NDArray[np.floating] | NDArray[np.bool_]
"""(seeds, shots): what each network scores on each shot: whether it is right, or its error."""

Blocks = NDArray[np.integer] | None
"""(shots,): neighbours, which are alike, have the same number (`blocks.of_time`); None where each shot stands for itself."""

Part = tuple[float, float]  # of a variance: its value, and its degrees of freedom


@dataclass(frozen=True)
class Spread:
    """The mean score of a group of seeds."""

    mean: float
    sd: float  # of one seed's score, over seeds; NaN of a single one
    low: float  # 95 % interval of the mean, over other seeds and other shots
    high: float


def spread(scores: Scores, blocks: Blocks = None) -> Spread:
    """Return the mean of `scores`, its interval, and the spread of the seeds. Raises ValueError if there are none."""
    if not scores.size:
        raise ValueError(f"expected scores of at least one shot, got {scores.shape}")
    found = _tested(scores.mean(), [_of_seeds(scores)], _of_shots(scores.mean(axis=0), blocks)).at_least(_least(scores))
    low, high = (0.0, 1.0) if scores.dtype == bool else (-inf, inf)  # ends of a share
    sd = sqrt(_of_seeds(scores)[0] * len(scores)) if len(scores) > 1 else nan
    return Spread(found.value, sd, max(found.low, low), min(found.high, high))


def spread_of_shares(shares: Sequence[float], shots: int) -> Spread:
    """Return the same of shares (0 to 1) of independent `shots`, the same ones for each seed, if no more of them is known."""
    scores = np.array(shares)[:, np.newaxis]
    share = float(scores.mean())
    found = _tested(share, [_of_seeds(scores)], (share * (1 - share) / shots, max(shots - 1, 1)))
    found = found.at_least(unseen(shots))
    return Spread(share, float(np.std(shares, ddof=1)), max(found.low, 0.0), min(found.high, 1.0))


def of_another_seed(mean: float, sd: float, seeds: int) -> tuple[float, float]:
    """Return the ends between which the score of one more network lies in 95 % of the cases, on the same shots.

    `mean` and `sd` are those of the networks of `seeds` seeds. It is the prediction interval of Student's t.
    """
    from scipy.stats import t

    half = float(t.ppf(0.5 + CONFIDENCE / 2, seeds - 1)) * sd * sqrt(1 + 1 / seeds)
    return mean - half, mean + half


def difference(first: Scores, second: Scores, blocks: Blocks = None) -> Difference:
    """Return how much more the second group's settings score than the first's, on the same shots.

    The seeds of one group are taken to have nothing in common with the other's, whatever their numbers: only the shots are
    paired. Raises ValueError if there are no shots, or they differ, or a group has one seed, whose spread is unknown.
    """
    if min(len(first), len(second)) < 2 or first.shape[1:] != second.shape[1:] or not first.size:
        raise ValueError(
            f"expected two groups (seeds >= 2, shots) on the same shots, got {first.shape}, {second.shape}"
        )
    gains = second.mean(axis=0) - first.mean(axis=0)
    found = _tested(gains.mean(), [_of_seeds(first), _of_seeds(second)], _of_shots(gains, blocks))
    return found.at_least(_least(first))


def _least(scores: Scores) -> float:
    """Return half of the narrowest interval that the shots allow: of numbers, which are not shares, none."""
    return unseen(scores.shape[1]) if scores.dtype == bool else 0.0


def _of_seeds(scores: Scores) -> Part:
    """Return the variance of the mean over the seeds; 0 of one seed, whose variance is unknown."""
    seeds = len(scores)
    return (float(scores.mean(axis=1).var(ddof=1)) / seeds, seeds - 1) if seeds > 1 else (0.0, 1)


def _of_shots(scores: NDArray[np.floating], blocks: Blocks) -> Part:
    """Return the variance of the mean over the shots (shots,), from the sums of their `blocks`."""
    numbers = np.arange(len(scores)) if blocks is None else np.unique(blocks, return_inverse=True)[1]
    sums = np.bincount(numbers, scores - scores.mean())
    count = max(len(sums), 2)  # one block, or shot, has no spread
    return float(np.square(sums).sum()) * count / (count - 1) / len(scores) ** 2, count - 1


def _tested(value: float, seeds: list[Part], shots: Part) -> Difference:
    """Return a value with the interval and the p-value of Student's t."""
    from scipy.stats import t

    variance = sum(part for part, _ in [*seeds, shots])
    error = sqrt(variance)
    freedom = variance**2 / sum(part**2 / freedom for part, freedom in [*seeds, shots]) if variance else inf
    margin = float(t.ppf(0.5 + CONFIDENCE / 2, freedom)) * error
    p = float(2 * t.sf(abs(value) / error, freedom)) if error else float(value == 0)
    of_seeds = sqrt(sum(part for part, _ in seeds))
    return Difference(float(value), float(value) - margin, float(value) + margin, p, freedom, of_seeds)
