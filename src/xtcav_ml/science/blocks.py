"""Neighbours in time are alike in real data: blocks of time, and the interval of an accuracy by them instead of by shots."""

from dataclasses import dataclass
from math import isqrt, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.science.thresholds import CONFIDENCE


@dataclass(frozen=True)
class Blocked:
    """The interval of an accuracy (0 to 1), by blocks of shots."""

    low: float  # 95 % interval
    high: float
    blocks: int
    design_effect: float  # variance of the accuracy over that of as many independent shots, at least 1


def of_time(*keys: NDArray[Any]) -> NDArray[np.int64]:
    """Return the block (N,) of each shot: about sqrt(N) of equal length, in order of `keys` (N,), of which the first leads.

    Batch means: blocks get longer with N, so that in the end they hold whatever correlation there is (J. M. Flegal and G. L.
    Jones, Ann. Stat. 38 (2010) 1034).
    """
    order = np.lexsort(keys[::-1])
    numbers = np.empty(len(order), np.int64)
    for block, members in enumerate(np.array_split(order, max(isqrt(len(order)), 1))):
        numbers[members] = block
    return numbers


def blocked_interval(right: NDArray[np.bool_], numbers: NDArray[np.int64]) -> Blocked:
    """Return the interval of the accuracy of answers `right` (N,), of which `numbers` (N,) are the blocks.

    It is Wilson's with N over the design effect shots and Student's t of the blocks, E. L. Korn and B. I. Graubard, Surv.
    Methodol. 24 (1998) 193. (0, 1) for fewer than two blocks.
    """
    from scipy.stats import t

    lengths = np.bincount(numbers)
    shots, blocks = len(right), len(lengths)
    if blocks < 2:
        return Blocked(0.0, 1.0, blocks, 1.0)
    share = float(right.mean())
    excess = np.bincount(numbers, right) - share * lengths
    independent = shots * share * (1 - share)
    variance = float(np.square(excess).sum()) * blocks / (blocks - 1)
    effect = max(variance / independent, 1.0) if independent else 1.0
    quantile = float(t.ppf(0.5 + CONFIDENCE / 2, blocks - 1))
    weight = quantile * quantile * effect / shots
    middle = (share + weight / 2) / (1 + weight)
    half = sqrt(weight * share * (1 - share) + weight * weight / 4) / (1 + weight)
    return Blocked(max(middle - half, 0.0), min(middle + half, 1.0), blocks, effect)
