"""Charge in slices -> camera frame: optics, shot noise, dark level, read noise, saturation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.simulate import CameraParams
from xtcav_ml.science.portable import exp
from xtcav_ml.science.simulation import draws

Floats = NDArray[np.float64]
Frame = NDArray[np.float32]
REACH = 5.0  # r.m.s. widths of a Gaussian that are drawn: 6e-7 of the charge lies outside
ROWS_AT_ONCE = 64  # whose intermediate results stay in the processor's cache


@dataclass(frozen=True)
class Streak:
    """n slices of a bunch on the screen: slice i is a Gaussian along the rows of column `column` + i."""

    charge: Floats  # (n,), pC
    row: Floats  # (n,), middle of the Gaussian
    spread: Floats  # (n,), its r.m.s. width, rows
    column: int


@dataclass(frozen=True)
class BeamPatch:
    """Region of a frame that holds the beam; pixel [0, 0] lies on (row, column) of the frame, which may be outside."""

    row: int
    column: int
    values: Frame  # (rows, columns)


def charge_density(streak: Streak, resolution: tuple[float, float], frame_rows: int) -> BeamPatch:
    """Return the charge on the screen, pC per pixel, as far as it falls on a row of the frame.

    `resolution` is the r.m.s. width of a point, rows and columns.
    """
    # A Gaussian spread seen with a Gaussian resolution is a Gaussian: along rows no convolution is needed.
    width = np.sqrt(streak.spread * streak.spread + resolution[0] * resolution[0])
    first = max(int(np.floor((streak.row - REACH * width).min())), 0)
    last = min(int(np.ceil((streak.row + REACH * width).max())), frame_rows - 1)
    height = (streak.charge / (width * np.sqrt(2 * np.pi))).astype(np.float32)
    middle, width = streak.row.astype(np.float32), width.astype(np.float32)
    kernel = gaussian_kernel(resolution[1])
    values = np.empty((max(last + 1 - first, 0), height.size + kernel.size - 1), np.float32)
    for start in range(0, len(values), ROWS_AT_ONCE):
        part = values[start : start + ROWS_AT_ONCE]
        rows = np.arange(first + start, first + start + len(part), dtype=np.float32)
        distance = (rows[:, None] - middle) / width
        part[:] = convolve_rows(exp(-0.5 * distance * distance) * height, kernel)
    return BeamPatch(first, streak.column - kernel.size // 2, values)


def gaussian_kernel(width: float) -> Frame:
    """Return a Gaussian of r.m.s. `width` pixels and sum 1, of odd length."""
    reach = int(np.ceil(REACH * width))
    distance = np.arange(-reach, reach + 1) / width
    weights = exp(-0.5 * distance * distance)
    return np.asarray(weights / weights.sum(), np.float32)


def convolve_rows(values: Frame, kernel: Frame) -> Frame:
    """Return every row of `values` (rows, columns) convolved with `kernel` (k,): (rows, columns + k - 1)."""
    # A sum of shifted copies: as fast as a matrix product here, and its bytes do not depend on a BLAS or its threads.
    rows, columns = values.shape
    wide = np.zeros((rows, columns + kernel.size - 1), np.float32)
    weighted = np.empty_like(values)
    for shift, weight in enumerate(kernel):
        wide[:, shift : shift + columns] += np.multiply(values, weight, out=weighted)
    return wide


def dark_level(rng: np.random.Generator, shape: tuple[int, int], params: CameraParams) -> Frame:
    """Return the mean dark frame of `shape` (rows, columns), ADU: pedestal, fixed pattern and hot pixels."""
    level: Frame = params.pedestal + params.pixel_pattern * draws.noise(rng, shape)
    level += params.column_pattern * draws.noise(rng, shape[1:])
    hot = rng.random(shape) < params.hot_pixels
    level[hot] += draws.uniform(rng, *params.hot_level, size=int(hot.sum()))
    return level


def expose(rng: np.random.Generator, dark: Frame, patch: BeamPatch | None, params: CameraParams) -> NDArray[np.int16]:
    """Return the frame, ADU int16, of a camera with mean dark frame `dark` on which `patch` (pC per pixel) falls.

    The patch outside the frame is lost. No patch: a frame without beam.
    """
    frame = draws.noise(rng, dark.shape)
    frame *= np.float32(params.read_noise)
    frame += dark
    if patch is not None:
        rows, columns = patch.values.shape
        top, left = max(patch.row, 0), max(patch.column, 0)
        bottom, right = min(patch.row + rows, dark.shape[0]), min(patch.column + columns, dark.shape[1])
        if top < bottom and left < right:
            inside = patch.values[top - patch.row : bottom - patch.row, left - patch.column : right - patch.column]
            quanta = draws.poisson(rng, inside * np.float32(params.response * params.photoelectrons))
            frame[top:bottom, left:right] += quanta.astype(np.float32) / np.float32(params.photoelectrons)
    np.rint(frame, out=frame)
    np.clip(frame, 0, params.saturation, out=frame)
    return frame.astype(np.int16)
