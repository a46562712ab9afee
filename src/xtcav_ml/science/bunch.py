"""Where the beam is in a prepared frame: for pictures, which show the beam and not the empty screen around it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.floating]

BLOCKS = 90  # on the longer side of a frame: their means have little noise
HOT = 16  # of so many pixels of a block the brightest is left out: it may be hot
ABOVE_NOISE = 8.0  # robust standard deviations of the blocks by which the beam stands out
TAIL = 0.002  # of the signal, on each side, which is beyond the ends
SMOOTH = 1 / 150  # s.d. of `smooth`, of the longer side


@dataclass(frozen=True)
class Extent:
    """The middle of the beam, and how far it reaches to each side of it, in pixels."""

    row: int
    column: int
    above: float
    below: float
    before: float
    after: float


def find(frame: Frame) -> Extent:
    """Return where the beam is in a frame (rows, columns); the middle of the frame, with no extent, if there is none."""
    size = min(
        max(2, max(frame.shape) // BLOCKS), *frame.shape
    )  # single pixels may be 0 for the most part, without noise
    height, width = (length // size for length in frame.shape)
    whole = (
        np.where(np.isfinite(frame), frame, np.nanmedian(frame)) if np.isfinite(frame).any() else np.zeros(frame.shape)
    )
    blocks = whole[: height * size, : width * size].reshape(height, size, width, size)
    flat, kept = blocks.swapaxes(1, 2).reshape(height, width, size**2), size**2 - size**2 // HOT
    level = (np.partition(flat, kept, axis=2)[..., :kept] if kept < size**2 else flat).mean(axis=2)
    away = level - np.median(level)
    signal = np.where(away > ABOVE_NOISE * 1.4826 * np.median(np.abs(away)), away, 0)
    if not signal.any():
        return Extent(frame.shape[0] // 2, frame.shape[1] // 2, 0, 0, 0, 0)
    row, above, below = _along(signal.sum(axis=1), size)
    column, before, after = _along(signal.sum(axis=0), size)
    return Extent(row, column, above, below, before, after)


def _along(signal: Frame, size: int) -> tuple[int, float, float]:
    """Return the mean place of a signal (blocks,), a pixel's number, and the pixels from there to both of its ends."""
    share = np.cumsum(signal) / signal.sum()
    first, last = np.searchsorted(share, [TAIL, 1 - TAIL])
    middle = int((signal @ (np.arange(len(signal)) + 0.5) / signal.sum()) * size)
    return middle, float(middle - first * size), float((last + 1) * size - 1 - middle)


def cut(frame: Frame, row: int, column: int, sides: tuple[int, int, int, int]) -> Frame:
    """Return the part of a frame from `row`, `column` as far as `sides` (above, below, before, after); NaN outside of it."""
    above, below, before, after = sides
    part = np.full((above + below + 1, before + after + 1), np.nan, np.float32)
    rows, columns = np.arange(row - above, row + below + 1), np.arange(column - before, column + after + 1)
    inside = [(each >= 0) & (each < length) for each, length in zip((rows, columns), frame.shape, strict=True)]
    part[np.ix_(*inside)] = frame[np.ix_(rows[inside[0]], columns[inside[1]])]
    return part


def mean_frame(frames: Iterable[Frame], shape: tuple[int, int]) -> Frame:
    """Return the mean of frames of `shape`, each shifted to have its beam in the middle; NaN where most have no pixel."""
    row, column = shape[0] // 2, shape[1] // 2
    sides = (row, shape[0] - 1 - row, column, shape[1] - 1 - column)
    total, count = np.zeros((2, *shape))
    for frame in frames:
        place = find(frame)
        part = cut(frame, place.row, place.column, sides)
        count += np.isfinite(part)
        total += np.nan_to_num(part)
    return np.asarray(np.divide(total, count, out=np.full(shape, np.nan), where=count > count.max() / 2))


def smooth(values: Frame) -> Frame:
    """Return values (..., rows, columns) smoothed over about the distance that a picture can show, shifted nowhere."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(values, SMOOTH * max(values.shape[-2:]), axes=(-2, -1)))
