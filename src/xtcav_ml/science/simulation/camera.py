"""Phase space -> camera frame: optics, shot noise, dark level, read noise, saturation."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.simulate import CameraParams
from xtcav_ml.science.portable import exp
from xtcav_ml.science.simulation import draws

Floats = NDArray[np.floating]
Frame = NDArray[np.float32]
REACH = 4.5  # r.m.s. widths of a Gaussian that are drawn: 7e-6 of the charge lies outside
MARGIN = 256  # rows beyond both edges that hold what falls there; the widest Gaussian reaches so far
ROOT_2_PI = 2.5066282746310002
LEAST_CHARGE = 1e-6  # pC in a column that is drawn
LARGEST = 32767  # of a stored pixel


@dataclass(frozen=True)
class Streak:
    """Slices of a bunch on the screen: each a point in time and a Gaussian in energy. Every array is (n,)."""

    charge: Floats  # pC
    column: Floats
    row: Floats  # middle of the Gaussian
    spread: Floats  # its r.m.s. width, rows


def charge_density(streaks: Iterable[Streak], resolution: tuple[float, float], shape: tuple[int, int]) -> Frame:
    """Return the charge on a screen of `shape` (rows, columns), pC per pixel; what falls beside it is lost.

    `resolution` is the r.m.s. width of a point, rows and columns. Each column of a streak is a Gaussian with the mean and
    the variance of the slices that the resolution mixes there.
    """
    screen = np.zeros((shape[0] + 2 * MARGIN, shape[1]), np.float32)
    kernel = gaussian_kernel(resolution[1])
    for streak in streaks:
        charge, row, variance = _column_moments(streak, kernel, shape[1])
        width = np.sqrt(variance + resolution[0] * resolution[0])
        reach = np.minimum(np.ceil(REACH * width), MARGIN - 1).astype(np.int64)
        seen = (charge > LEAST_CHARGE) & (row > -MARGIN + reach) & (row < shape[0] + MARGIN - 1 - reach)
        # Columns in which the Gaussian is about as wide are drawn together, as far as the widest of them reaches.
        powers = np.searchsorted(2 ** np.arange(4, 9), reach)
        for power in np.unique(powers[seen]):
            columns = np.flatnonzero(seen & (powers == power))
            _add_gaussians(screen, columns, charge[columns], row[columns] + MARGIN, width[columns])
    return screen[MARGIN:-MARGIN]


def _column_moments(streak: Streak, kernel: Floats, columns: int) -> tuple[Floats, Floats, Floats]:
    """Return charge, mean row and variance of the rows (columns,) where a streak is seen with `kernel` (k,)."""
    beyond = kernel.size  # columns on both sides of the screen, from which charge is smeared into it
    place = np.clip(streak.column + beyond, 0, columns + 2 * beyond - 2)
    first = np.floor(place).astype(np.int64)
    part = place - first
    squares = streak.row * streak.row + streak.spread * streak.spread
    moments = []
    for values in (streak.charge, streak.charge * streak.row, streak.charge * squares):
        size = columns + 2 * beyond
        at: Floats = np.bincount(first, values * (1 - part), size).astype(np.float64)
        at += np.bincount(first + 1, values * part, size)
        moments.append(_smooth(at, kernel)[beyond:-beyond])
    charge, row, square = moments
    held = np.maximum(charge, 1e-30)
    row, square = row / held, square / held
    return charge, row, np.maximum(square - row * row, 0)


def _add_gaussians(screen: Frame, columns: NDArray[np.int64], charge: Floats, row: Floats, width: Floats) -> None:
    """Add a Gaussian along the rows of each of `columns` (n,) to the screen."""
    reach = int(np.ceil(REACH * width.max()))
    middle = np.rint(row)
    reach = min(reach, MARGIN - 1)
    rows = np.arange(-reach, reach + 1, dtype=np.float32)[:, None]
    off = np.asarray(row - middle, np.float32)
    distance: Frame = np.asarray((rows - off) / np.asarray(width, np.float32), np.float32)
    height = (charge / (width * ROOT_2_PI)).astype(np.float32)
    at = rows.astype(np.int64) + middle.astype(np.int64)
    np.clip(at, 0, len(screen) - 1, out=at)
    screen[at, columns] += height * exp(np.float32(-0.5) * distance * distance)


def gaussian_kernel(width: float) -> Floats:
    """Return a Gaussian of r.m.s. `width` pixels and sum 1, of odd length."""
    reach = int(np.ceil(REACH * width))
    distance = np.arange(-reach, reach + 1) / width
    weights = exp(-0.5 * distance * distance)
    return np.asarray(weights / weights.sum())


def _smooth(values: Floats, kernel: Floats) -> Floats:
    """Return values (n,) convolved with a kernel (k,), n of them."""
    # A sum of shifted copies: its bytes do not depend on a library or its threads.
    reach = kernel.size // 2
    wide = np.pad(values, reach)
    total = np.zeros_like(values)
    for shift, weight in enumerate(kernel):
        total += weight * wide[shift : shift + values.size]
    return total


def dark_level(rng: np.random.Generator, shape: tuple[int, int], params: CameraParams) -> Frame:
    """Return the dark level of `shape` (rows, columns) that is subtracted, ADU: pedestal, fixed pattern and hot pixels."""
    level: Frame = params.pedestal + params.pixel_pattern * draws.noise(rng, shape)
    level += params.column_pattern * draws.noise(rng, shape[1:])
    hot = rng.random(shape) < params.hot_pixels
    level[hot] += draws.uniform(rng, *params.hot_level, size=int(hot.sum()))
    return level


def moved_level(rng: np.random.Generator, shape: tuple[int, int], params: CameraParams) -> Frame:
    """Return by how much the dark level of a run is off that (rows, columns): as a whole, by columns and by blocks, ADU."""
    level = np.full(shape, params.moved_level * draws.normal(rng, 1)[0], np.float32)
    level += params.moved_columns * draws.noise(rng, shape[1:])
    row, column = params.blocks
    steps = params.moved_blocks * draws.normal(rng, 4)
    for number, part in enumerate(
        (np.s_[:row, :column], np.s_[:row, column:], np.s_[row:, :column], np.s_[row:, column:])
    ):
        level[part] += np.float32(steps[number])
    return level


def expose(rng: np.random.Generator, dark: Frame, charge: Frame | None, params: CameraParams) -> Frame:
    """Return the frame, whole ADU from 0 to saturation, of a camera with mean dark frame `dark` on which `charge` falls.

    `charge` is pC per pixel; None: a frame without beam. Shot noise is that of many quanta: Gaussian.
    """
    frame = draws.noise(rng, dark.shape)
    if charge is None:
        frame *= np.float32(params.read_noise)
    else:
        signal = charge * np.float32(params.response)
        variance = signal * np.float32(1 / params.photoelectrons)
        variance += np.float32(params.read_noise * params.read_noise)
        frame *= np.sqrt(variance, out=variance)
        frame += signal
    frame += dark
    np.rint(frame, out=frame)
    np.clip(frame, 0, params.saturation, out=frame)
    return frame


def stored(frame: Frame, dark: Frame | None) -> NDArray[np.int16]:
    """Return a frame as it is stored: raw, or with the level `dark`, in whole ADU, subtracted."""
    if dark is not None:
        frame = frame - dark
    return np.clip(frame, -LARGEST, LARGEST).astype(np.int16)
