"""Axes of an XTCAV frame from its calibration and the RF of the shot, with the formulas of the classical analysis.

slaclab/xtcav2 and slac-lcls/lcls2 (psana/psana/xtcav): energy a row = umperpix x dumpe / dumpdisp, time a column =
umperpix x rfampcalib / (0.3 x strstrength x amplitude), with the sign of cos(phase - rfphasecalib).
"""

import math

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.simulate import CalibrationParams
from xtcav_ml.science.portable import polynomial

LEAST_COSINE = 0.5  # of the phase off the calibration, below which the streak is not linear
COSINE_SERIES = [(1 - 2 * (n % 2)) / math.factorial(2 * n) for n in range(16)]
DEGREE = 0.017453292519943295  # radians

Floats = NDArray[np.floating]


def cosine(degrees: Floats) -> Floats:
    """Return the cosine (N,) of angles (N,), with the same bits on every processor, to 1e-14."""
    turned = degrees - 360 * np.rint(degrees / 360)
    radians = DEGREE * turned
    return np.asarray(polynomial(radians * radians, COSINE_SERIES))


def time_per_column(calibration: CalibrationParams, amplitude: Floats, phase: Floats) -> NDArray[np.float64]:
    """Return the time from one column to the next (N,), fs, at RF amplitudes (N,), MV, and phases (N,), degrees.

    Negative where the streak is mirrored, NaN where the cosine of the phase is nearer to 0 than LEAST_COSINE, so that the
    frame has no time axis.
    """
    off = cosine(np.asarray(phase, np.float64) - calibration.rfphasecalib)
    size = calibration.time_per_column * (calibration.rfampcalib / np.asarray(amplitude, np.float64))
    return np.where(np.abs(off) < LEAST_COSINE, np.nan, np.where(off < 0, -size, size))
