"""Exponential and logarithm with the same bits on every processor.

numpy's `exp`, `log` and others choose their code by the processor, as the C library below them does, and the last bits of the
results differ; so do those of a matrix product. Here are additions, multiplications, divisions and integers alone, each one
call of numpy. IEEE 754 leaves no choice of their bits, and between two calls no compiler can contract or reorder.
`tests/science/test_portable.py` keeps the others out of what `simulate` and `prepare` compute.
"""

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
BLOCK = 2**14  # numbers that stay in the cache near the processor from one operation to the next
LN2, LOG2_E = 0.6931471805599453, 1.4426950408889634
ROOT_HALF = 0.7071067811865476
EXP_TERMS = {4: 8, 8: 14}  # by the bytes of a number: of the series of 2**x for |x| <= 1/2
LOG_TERMS = {4: 5, 8: 12}  # of the series of artanh(x) / x for |x| <= 0.172
EXP_SERIES = [*itertools.accumulate(range(1, EXP_TERMS[8]), lambda term, n: term * LN2 / n, initial=1.0)]
LOG_SERIES = [1 / (2 * n + 1) for n in range(LOG_TERMS[8])]


def exp(values: Floats) -> Any:
    """Return e to the power of native float32 or float64 values, of their type and shape.

    As 2 to the power of a whole number, which is exact, times 2 to the power of the rest, by its series. The relative error
    is about the type's epsilon times the larger of 1 and |value|. What would be subnormal is 0, since some processors are told
    to flush it; nothing exceeds 2**127 (float32) or 2**1023.
    """
    info = np.finfo(values.dtype)
    power = np.clip(values * LOG2_E, info.minexp - 1, info.maxexp - 1)
    whole = np.where(power < info.minexp, info.minexp - 1, np.rint(power))
    part = polynomial(power - whole, EXP_SERIES[: EXP_TERMS[info.bits // 8]])
    exponent = whole.astype(f"i{info.bits // 8}") + (info.maxexp - 1)
    return part * (exponent << info.nmant).view(values.dtype)


def log(values: Floats) -> Any:
    """Return the natural logarithm of native float32 or float64 values, of their type and shape.

    They are finite, positive and not subnormal: of others the result means nothing.

    ln(2**n m) = n ln 2 + 2 artanh((m - 1) / (m + 1)), with m between the roots of 1/2 and 2. The error is about the type's
    epsilon times the larger of 1 and the logarithm.
    """
    if values.size <= BLOCK:
        return _log(values)
    line = values.reshape(-1)
    return np.concatenate([_log(line[i : i + BLOCK]) for i in range(0, line.size, BLOCK)]).reshape(values.shape)


def _log(values: Floats) -> Any:
    info = np.finfo(values.dtype)
    bits = values.view(f"i{info.bits // 8}")
    whole = (bits - values.dtype.type(ROOT_HALF).view(bits.dtype)) >> info.nmant
    part = (bits - (whole << info.nmant)).view(values.dtype)
    ratio = part - 1
    part += 1
    ratio /= part
    series = polynomial(ratio * ratio, LOG_SERIES[: LOG_TERMS[info.bits // 8]])
    series *= ratio
    series *= 2
    total = whole.astype(values.dtype)
    total *= LN2
    total += series
    return total


def polynomial(values: Floats, coefficients: Iterable[float]) -> Any:
    """Return the polynomial with `coefficients`, that of the lowest power first, at values of any shape."""
    last, *others = reversed([*coefficients])
    total = np.full_like(values, last)
    for coefficient in others:
        total *= values
        total += coefficient
    return total
