"""Random numbers with the same bits on every processor: uniform ones of numpy, transformed.

numpy's `standard_normal`, `standard_exponential` and `poisson` take logarithms and exponentials of the C library, whose bits
depend on the processor. Its uniform numbers are those of a whole number of 32 or 53 bits.
"""

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.science.portable import exp, log, polynomial

Floats = NDArray[np.floating]
AT_ONCE = 2**15  # numbers, whose intermediate results stay in the processor's cache
PIECES = 2**16  # of the normal distribution, in `noise`
MANY = 16.0  # mean of a Poisson distribution from which on its quantiles follow from the normal distribution's
MOST = 64  # counts of a smaller mean: more have a probability below 1e-18

# Wichura's algorithm AS 241, PPND7, Applied Statistics 37 (1988) 477: relative error 1e-7
CENTRE = (
    (3.3871327179, 50.434271938, 159.29113202, 59.109374720),
    (1.0, 17.895169469, 78.757757664, 67.187563600),
)
TAIL = (1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103), (1.0, 0.73700164250, 0.12021132975)


def uniform(rng: np.random.Generator, low: float, high: float, size: int | tuple[int, ...] | None = None) -> Any:
    """Return numbers of shape `size`, or one, evenly distributed between `low` and `high`."""
    return low + (high - low) * rng.random(size)


def exponential(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Return numbers (size,) of the exponential distribution with mean 1."""
    return np.asarray(-log(1 - rng.random(size)))


def normal(rng: np.random.Generator, shape: int | tuple[int, ...]) -> NDArray[np.float64]:
    """Return numbers of `shape` of the normal distribution with mean 0 and s.d. 1, which ends at 6.3 s.d.

    They are the quantiles of whole numbers of 32 bits, with a relative error of 1e-6.
    """
    values = np.empty(shape)
    flat = values.reshape(-1)
    for first in range(0, flat.size, AT_ONCE):
        part = flat[first : first + AT_ONCE]
        part[:] = normal_quantiles(rng.integers(-(2**31), 2**31, part.size, np.int32))
    return values


def noise(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return numbers of `shape` as `normal` does, five times as fast, of 16 bits: for noise that is rounded.

    The distribution is cut into 65,536 pieces of equal probability. All numbers in a piece are its middle, but those of the
    first and the last piece are as `normal` draws them.
    """
    size = math.prod(shape)
    pieces = rng.integers(0, 2**64, -(-size // 4), np.uint64).view(np.uint16)[:size]
    values = _middles().take(pieces)
    ends = np.flatnonzero((pieces == 0) | (pieces == PIECES - 1))
    first_of_piece = (pieces[ends].astype(np.int64) - PIECES // 2) * (2**32 // PIECES)
    values[ends] = normal_quantiles(first_of_piece + rng.integers(0, 2**32 // PIECES, ends.size))
    return values.reshape(shape)


@functools.cache
def _middles() -> NDArray[np.float32]:
    """Return the middle (PIECES,) of each piece."""
    return normal_quantiles((np.arange(PIECES) - PIECES // 2) * (2**32 // PIECES) + 2**31 // PIECES)


def normal_quantiles(places: NDArray[np.integer]) -> NDArray[np.float32]:
    """Return the normal distribution's quantiles (n,) at the probabilities (2**31 + places) / 2**32.

    Those in its tails are moved from the ends by half a step, so that even the first is finite.
    """
    from_middle = places.astype(np.float32) * np.float32(2**-32)
    square = 0.180625 - from_middle * from_middle
    quantiles = from_middle * (polynomial(square, CENTRE[0]) / polynomial(square, CENTRE[1]))
    far = np.flatnonzero(square < 0)
    places = places[far]
    steps = 2**31 - np.abs(places.astype(np.int64)) + 0.5  # from the nearer end
    root = np.sqrt(-log((steps * 2**-32).astype(np.float32))) - np.float32(1.6)
    quantiles[far] = np.copysign(polynomial(root, TAIL[0]) / polynomial(root, TAIL[1]), places)
    return np.asarray(quantiles)


def poisson(rng: np.random.Generator, mean: Floats) -> NDArray[np.int64]:
    """Return counts of Poisson distributions with `mean` of any shape, of that shape."""
    counts = np.zeros(mean.size, np.int64)
    mean_of, drawn = mean.ravel(), rng.random(mean.size)
    some = np.flatnonzero(drawn >= 1 - mean_of)  # few, of small means; the others are 0: exp(-x) >= 1 - x
    many = mean_of[some] >= MANY
    counts[some[many]] = _many(rng, mean_of[some[many]].astype(np.float64))
    few = some[~many]
    counts[few] = _few(drawn[few], mean_of[few].astype(np.float64))
    return counts.reshape(mean.shape)


def _few(drawn: Floats, mean: Floats) -> NDArray[np.int64]:
    """Return counts (n,) for means (n,) below MANY, by inversion of numbers `drawn` (n,) between 0 and 1."""
    counts, index = np.zeros(mean.size, np.int64), np.arange(mean.size)
    probability = total = exp(-mean)
    for count in range(1, MOST):
        more = np.flatnonzero(drawn >= total)
        if not more.size:
            break
        index, mean, drawn = index[more], mean[more], drawn[more]
        probability = probability[more] * (mean / count)
        total = total[more] + probability
        counts[index] = count
    return counts


def _many(rng: np.random.Generator, mean: Floats) -> NDArray[np.int64]:
    """Return counts (n,) for means (n,) of at least MANY.

    By the quantile's asymptotic expansion from that of the normal distribution, Giles, ACM Trans. Math. Softw. 42 (2016) 7:
    the count is off by one with a probability below 1/1000.
    """
    normals = normal(rng, mean.size)
    square, root = normals * normals, np.sqrt(mean)
    quantile = mean + root * normals + (1 / 3 + square / 6) - normals * (1 / 36 + square / 72) / root
    quantile += (square * (7 / 810 + square / 270) - 8 / 405) / mean
    return np.maximum(np.floor(quantile), 0).astype(np.int64)
