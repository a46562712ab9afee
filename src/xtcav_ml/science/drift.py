"""What shots in order of time have in common: the error of their mean, if machine and models drift as slowly as they may.

The mean of N shots is uncertain by their fluctuations at frequency 0, which N shots do not show: of a drift as slow as the
record they show the first turns alone. No length of blocks is right, then. So every drift that these shots do not exclude
counts, by how likely it makes them: fluctuations of independent shots, or these and a correlated part, first-order
autoregressive, of any strength and any duration from a few shots to most of the record. How likely is the likelihood of
P. Whittle, Ark. Mat. 2 (1953) 423, of the slowest parts of the shots' cosine transform. Tests from these parts alone, for
drifts of any duration, are those of U. K. Müller, J. Bus. Econ. Stat. 32 (2014) 311.
"""

from dataclasses import replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.science.significance import Difference
from xtcav_ml.science.thresholds import CONFIDENCE

Floats = NDArray[np.floating]

NONE = 0.5  # probability of no drift before shots are seen
STRENGTHS = 2.0 ** np.arange(1, 13)  # of a drift, at frequency 0: its variance over that of independent shots
SHORTEST, LONGEST = 5.0, 0.8  # time over which a drift is correlated: shots, and share of the record
TURNS = 200  # half turns of the slowest fluctuations that are looked at: what is faster is noise like theirs
QUANTILE = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)


def allowed_for(difference: Difference, gains: Floats) -> Difference:
    """Return a difference, the mean of `gains` (N,) of shots in order of time, as uncertain as drift may have made it.

    It never becomes more certain: interval and p-value were those of independent shots.
    """
    half = QUANTILE * error_of_mean(gains)
    p = 2 * NormalDist().cdf(-QUANTILE * abs(difference.value) / half) if half else 0.0
    low, high = difference.value - half, difference.value + half
    return replace(difference, low=min(difference.low, low), high=max(difference.high, high), p=max(difference.p, p))


def error_of_mean(values: Floats) -> float:
    """Return the standard error of the mean of values (N,) in order of time: a CONFIDENCE interval has 1.96 of it to a side.

    0 of values that are all the same, or of a single one.
    """
    if len(values) < 2 or not np.ptp(values):
        return 0.0
    from scipy.fft import dct
    from scipy.optimize import brentq
    from scipy.stats import norm

    power = np.square(dct(np.asarray(values, np.float64), norm="ortho"))[1 : TURNS + 1]
    likely, variances = _drifts(power, len(values))
    errors = np.sqrt(variances / len(values))

    def beyond(half: float) -> float:
        return float(likely @ (2 * norm.sf(half / errors))) - (1 - CONFIDENCE)

    ends = QUANTILE * errors.min() * (1 - 1e-9), QUANTILE * errors.max() * (1 + 1e-9)
    return float(brentq(beyond, *ends)) / QUANTILE


def _drifts(power: Floats, shots: int) -> tuple[Floats, Floats]:
    """Return how likely each drift is, from the power of the turns in a record of `shots`, and the variance at frequency 0.

    Both are (drifts,), the first one of none; the variance is in the unit of the power.
    """
    times = LONGEST * shots / 2.0 ** np.arange(int(np.log2(max(LONGEST * shots / SHORTEST, 1))) + 1)
    strengths, times = (np.append(0.0, each.ravel()) for each in np.meshgrid(STRENGTHS, times))
    frequencies = np.pi / shots * np.arange(1, len(power) + 1)  # radians a shot
    spectra = 1 + strengths[:, None] / (1 + np.square(frequencies * times[:, None]))
    level = (power / spectra).mean(axis=1)  # of the independent part, that fits best
    fits = -0.5 * (np.log(spectra).sum(axis=1) + len(power) * np.log(level))
    before = np.append(NONE, np.full(len(times) - 1, (1 - NONE) / (len(times) - 1)))
    likely = before * np.exp(fits - fits.max())
    return likely / likely.sum(), (1 + strengths) * level
