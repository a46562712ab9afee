"""Max pooling that keeps the position of each maximum, and the gradient of a convolution's kernels from these positions.

Where a map is pooled with a stride of 10, one pixel in a hundred has a gradient: to spread it over the whole map, and to
convolve that map with the frame, as libraries do, is a hundred times the work.
"""

import functools
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Places = NDArray[np.int32]
LARGEST = np.iinfo(np.int32).max


def same_padding(length: int, window: int, stride: int) -> tuple[int, int, int]:
    """Return the output length of a window over `length` with `same` padding, and the padding before and after."""
    output = -(-length // stride)
    padding = max((output - 1) * stride + window - length, 0)
    return output, padding // 2, padding - padding // 2


def max_pool(maps: Array, columns: int, window: int, stride: int, threads: int) -> tuple[Array, Places]:
    """Return the maxima of `maps` (N, rows, pitch, channels) and their places, with `same` padding, which is never a maximum.

    Only the first `columns` of a row count. Both have shape (N, rows', columns', channels); a place is row x columns + column.
    Of equal maxima the one in the first column counts, and in it the first row. Raises ValueError if `columns`, `window` or
    `stride` do not fit the maps, or a map has more pixels than int32 can number: compiled code would read other memory.
    """
    shots, rows, pitch, channels = maps.shape
    if not (rows >= 1 <= columns <= pitch and window >= 1 <= stride and rows * columns <= LARGEST):
        raise ValueError(
            f"columns, window, stride or pixels do not fit (found {columns}, {window}, {stride} and {rows * columns}, expected "
            f"at least 1, columns at most {pitch}, pixels at most {LARGEST})"
        )
    high, above, _ = same_padding(rows, window, stride)
    wide, left, _ = same_padding(columns, window, stride)
    best = np.empty((shots, high, wide, channels), np.float32)
    places = np.empty(best.shape, np.int32)
    bounds = np.linspace(0, shots * high, threads + 1).astype(np.int64)

    sizes = (columns, window, stride, above, left)
    _in_threads(threads, lambda first, last: _pool(maps, sizes, first, last, best, places), bounds)
    return best, places


def kernel_gradient(
    frames: Array, places: Places, slopes: Array, columns: int, stride: int, size: int, threads: int
) -> Array:
    """Return the derivative (size, size, 1, channels) by the kernels of a convolution whose maps were pooled.

    `frames` (N, rows, columns) are the padded input of the convolution of this `stride`; `places` and `columns` are those of
    `max_pool`, `slopes` the derivative by its maxima. The bits do not depend on the number of threads: each frame has a sum
    of its own. Raises ValueError if the shapes do not fit, or a place, with its kernel, lies outside its frame: compiled code
    would read other memory.
    """
    if len(frames) != len(places) or slopes.shape != places.shape:
        raise ValueError(
            f"frames, places, slopes: unequal shapes (found {frames.shape}, {places.shape}, {slopes.shape}, expected equal)"
        )
    if places.size:
        down = int(places.max()) // columns * stride + size
        across = (columns - 1) * stride + size
        if places.min() < 0 or down > frames.shape[1] or across > frames.shape[2]:
            raise ValueError(
                f"places lie outside the frames (found {places.min()} to {places.max()} of maps of {columns} columns, in steps "
                f"of {stride} with kernels of {size}, expected them inside {frames.shape[1:]})"
            )
    sums = np.zeros((len(frames), slopes.shape[3], size, size), np.float32)
    bounds = np.linspace(0, len(frames), threads + 1).astype(np.int64)
    _in_threads(
        threads, lambda first, last: _correlate(frames, places, slopes, columns, stride, first, last, sums), bounds
    )
    total = sums.sum(axis=0, dtype=np.float64).transpose(1, 2, 0)[:, :, np.newaxis]
    return np.ascontiguousarray(total, np.float32)


def _in_threads(threads: int, work: Callable[[int, int], None], bounds: NDArray[np.int64]) -> None:
    """Call `work(first, last)` for all neighbouring bounds at once."""
    for task in [_workers(threads).submit(work, int(a), int(b)) for a, b in itertools.pairwise(bounds)]:
        task.result()


_workers = functools.cache(ThreadPoolExecutor)  # by number of threads


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _pool(
    maps: Array, sizes: tuple[int, int, int, int, int], first: int, last: int, best: Array, places: Places
) -> None:
    """Pool the output rows `first` to `last` - 1: down the columns first, which is contiguous in memory."""
    columns, window, stride, above, left = sizes
    rows, channels = maps.shape[1], maps.shape[3]
    length = columns * channels
    most = np.empty(length, np.float32)
    row_of = np.empty(length, np.int32)
    for task in range(first, last):
        shot, i = task // best.shape[1], task % best.shape[1]
        top, bottom = max(i * stride - above, 0), min(i * stride - above + window, rows)
        most[:] = maps[shot, top].reshape(-1)[:length]
        row_of[:] = top
        for r in range(top + 1, bottom):
            row, here = maps[shot, r].reshape(-1), np.int32(r)
            for k in range(length):
                better = row[k] > most[k]
                most[k] = row[k] if better else most[k]
                row_of[k] = here if better else row_of[k]
        for j in range(best.shape[2]):
            begin, end = max(j * stride - left, 0), min(j * stride - left + window, columns)
            for c in range(channels):
                at = begin
                for s in range(begin + 1, end):
                    if most[s * channels + c] > most[at * channels + c]:
                        at = s
                best[shot, i, j, c] = most[at * channels + c]
                places[shot, i, j, c] = row_of[at * channels + c] * columns + at


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _correlate(
    frames: Array, places: Places, slopes: Array, columns: int, stride: int, first: int, last: int, sums: Array
) -> None:
    """Add to `sums` (N, channels, size, size) the windows at the maxima of the frames `first` to `last` - 1, times slopes."""
    size = sums.shape[2]
    for shot in range(first, last):
        for i in range(places.shape[1]):
            for j in range(places.shape[2]):
                for c in range(places.shape[3]):
                    slope = slopes[shot, i, j, c]
                    if slope != 0:  # half of them, after a ReLU
                        r = places[shot, i, j, c] // columns * stride
                        s = places[shot, i, j, c] % columns * stride
                        for u in range(size):
                            seen, total = frames[shot, r + u, s : s + size], sums[shot, c, u]
                            for v in range(size):
                                total[v] += slope * seen[v]
