"""Axes of an XTCAV frame from its calibration and the RF of the shot, with the formulas of the classical analysis.

slaclab/xtcav2 and slac-lcls/lcls2 (psana/psana/xtcav): energy a row = umperpix x dumpe / dumpdisp, time a column =
umperpix x rfampcalib / (0.3 x strstrength x amplitude), with the sign of cos(phase - rfphasecalib).
"""

import math

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.data import Axes, DataParams
from xtcav_ml.config.simulate import CalibrationParams, SimulateParams
from xtcav_ml.science.portable import polynomial

LONGEST_STEP = 1000.0  # fs a column, beyond which an RF amplitude is none
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

    Negative where the streak is mirrored, NaN where the frame has no time axis: the cosine of the phase is nearer to 0 than
    LEAST_COSINE, or it is no number.
    """
    off = cosine(np.asarray(phase, np.float64) - calibration.rfphasecalib)
    size = calibration.time_per_column * (calibration.rfampcalib / np.asarray(amplitude, np.float64))
    return np.where(~(np.abs(off) >= LEAST_COSINE), np.nan, np.where(off < 0, -size, size))


def axes_at(calibration: CalibrationParams, amplitude: float, phase: float) -> Axes | None:
    """Return the axes of a shot's frame by its RF, in the units of `time_per_column`; None if it has no time axis."""
    with np.errstate(divide="ignore"):
        step = float(time_per_column(calibration, np.array([amplitude]), np.array([phase]))[0])
    if not abs(step) <= LONGEST_STEP:
        return None
    return Axes(time_per_column=step, energy_per_row=calibration.energy_per_row)


def usual_axes(data: DataParams, simulate: SimulateParams) -> Axes | None:
    """Return the axes of frames whose RF is not known: of simulated ones at its mean, of others at that of the calibration."""
    calibration = data.calibration(simulate.calibration)
    if not isinstance(calibration, CalibrationParams):
        return calibration
    if data.axes is None:
        return axes_at(calibration, simulate.machine.xtcav_amplitude[0], simulate.machine.xtcav_phase[0])
    return axes_at(calibration, calibration.rfampcalib, calibration.rfphasecalib)
