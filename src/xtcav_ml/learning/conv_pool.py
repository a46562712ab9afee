"""Convolution and max pooling as one, and its gradients at the maxima: compiled loops over the frames of one thread.

The map of a convolution is pooled row by row as it is computed, and never stored. Where it is pooled with a stride of 10, one
pixel in a hundred has a gradient: to spread it over the whole map, and to convolve that map with the frame, as libraries do,
is a hundred times the work.

Images are cut into phases, the pixels that one pixel of a kernel meets as it steps, so that all steps are one pixel. A map is
then one long line of numbers, with a few between its rows that belong to no pixel.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.learning.pixel_rows import read_row
from xtcav_ml.learning.vector_code import LANES, add_scaled, compiled, convolve, first_maximum, keep_larger, tile

Array = NDArray[np.float32]


class Geometry(NamedTuple):
    """Sizes, in pixels; padding that is not above or left is what lies beyond the frame or the map on the other sides."""

    height: int  # of a frame, whose channels are its depth
    width: int
    depth: int
    kernel_rows: int
    kernel_columns: int
    channels: int
    stride_rows: int
    stride_columns: int
    above: int
    left: int
    rows: int  # of the map
    columns: int
    window_rows: int
    window_columns: int
    step_rows: int
    step_columns: int
    pool_above: int
    pool_left: int
    pooled_rows: int
    pooled_columns: int

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        channels: int,
        kernel: Sequence[int],
        strides: Sequence[int],
        window: Sequence[int],
        steps: Sequence[int],
        padding: str = "same",
        pool_padding: str = "same",
    ) -> Self:
        """Return the sizes for frames of `shape` (rows, columns, depth); all others are of rows and columns."""
        sizes = {"height": shape[0], "width": shape[1], "depth": shape[2], "channels": channels}
        for i, (axis, before) in enumerate((("rows", "above"), ("columns", "left"))):
            length, start = padded(shape[i], kernel[i], strides[i], padding)
            pooled, pool_start = padded(length, window[i], steps[i], pool_padding)
            sizes |= {f"kernel_{axis}": kernel[i], f"stride_{axis}": strides[i], axis: length, before: start}
            sizes |= {f"window_{axis}": window[i], f"step_{axis}": steps[i]}
            sizes |= {f"pooled_{axis}": pooled, f"pool_{before}": pool_start}
        return cls(**sizes)


def padded(length: int, window: int, stride: int, padding: str) -> tuple[int, int]:
    """Return the output length of a window over `length`, and the padding before it: `same` or `valid`, as in Keras."""
    if padding == "valid":
        return (length - window) // stride + 1, 0
    output = -(-length // stride)
    return output, max((output - 1) * stride + window - length, 0) // 2


BUFFER = 49152  # numbers of a map that are computed before they are pooled: in the second level of cache, also of two threads


@compiled
def bands(job: Any) -> int:
    """Return into how many tasks a frame is cut."""
    return 1 if job.shots >= 4 * job.threads else min(job.threads, job.pooled_rows)


@compiled
def packed(kernel: Array) -> Array:
    """Return kernels (rows, columns, depth, channels) as `convolve` reads them: blocks of channels, zeros beyond the last."""
    block = tile()[1]
    taps, channels = kernel.size // kernel.shape[3], kernel.shape[3]
    flat, weights = kernel.reshape(taps, channels), np.zeros(-(-channels // block) * block * taps, np.float32)
    for c in range(channels):
        for t in range(taps):
            weights[(c // block * taps + t) * block + c % block] = flat[t, c]
    return weights


@compiled
def max_pool(job: Any, weights: Array, best: Array, places: NDArray[np.int32]) -> None:
    """Pool the maps of tasks `first` to `last` - 1: maxima and places (shots, pooled rows, pooled columns, channels).

    A place is row x columns + column of the map. Of equal maxima the first counts, row by row. Padding is never a maximum.
    """
    high = -(-job.pooled_rows // bands(job))  # pooled rows of a task
    most_rows = min((high - 1) * job.step_rows + job.window_rows, job.rows)
    pitch = job.columns + (job.kernel_columns - 1) // job.stride_columns
    lines = most_rows + (job.kernel_rows - 1) // job.stride_rows
    offsets = _offsets(job, lines * pitch, pitch)
    length, block = tile()
    together = max(1, min(most_rows, BUFFER // (pitch * job.channels)))  # rows
    stretch = -(-(together * pitch + LANES) // length) * length
    image = np.zeros(job.depth * job.stride_rows * job.stride_columns * lines * pitch + pitch + stretch, np.float32)
    row = np.empty(job.width * job.depth, np.float32)
    lines_of_map = np.empty((-(-job.channels // block) * block, stretch), np.float32)
    slots = -(-job.window_rows // job.step_rows)  # windows that a row may belong to
    most = np.empty((slots, job.channels, job.columns + LANES), np.float32)
    row_of = np.empty(most.shape, np.int32)
    for task in range(job.first, job.last):
        shot, band = task // bands(job), task % bands(job)
        begin, end = band * high, min((band + 1) * high, job.pooled_rows)
        if begin >= end:
            continue
        top = max(begin * job.step_rows - job.pool_above, 0)
        bottom = min((end - 1) * job.step_rows - job.pool_above + job.window_rows, job.rows)
        _cut(job, shot, top * job.stride_rows - job.above, lines, pitch, row, image)
        for r in range(top, bottom, together):
            here = min(together, bottom - r)
            _convolve(image, (r - top) * pitch, (here - 1) * pitch + job.columns, offsets, weights, lines_of_map)
            first = max(begin, -(-(r + job.pool_above - job.window_rows + 1) // job.step_rows))
            for i in range(first, min(end, (r + here - 1 + job.pool_above) // job.step_rows + 1)):
                start = i * job.step_rows - job.pool_above
                beyond = min(start + job.window_rows, job.rows)
                slot = i % slots  # no other window has it before this one has its maxima
                _fold(job, max(start, 0), r, min(r + here, beyond), pitch, lines_of_map, most[slot], row_of[slot])
                if r < beyond <= r + here:
                    _across(job, most[slot], row_of[slot], best[shot, i], places[shot, i])


@compiled
def _offsets(job: Any, plane: int, pitch: int) -> NDArray[np.int64]:
    """Return how far after a pixel of the map, in the phases of `_cut`, each pixel of the kernel lies."""
    offsets = np.empty(job.kernel_rows * job.kernel_columns * job.depth, np.int64)
    for t in range(len(offsets)):
        u, v, d = t // job.depth // job.kernel_columns, t // job.depth % job.kernel_columns, t % job.depth
        phase = (d * job.stride_rows + u % job.stride_rows) * job.stride_columns + v % job.stride_columns
        offsets[t] = phase * plane + u // job.stride_rows * pitch + v // job.stride_columns
    return offsets


@compiled
def _cut(job: Any, shot: int, top: int, lines: int, pitch: int, row: Array, image: Array) -> None:
    """Write the phases of the rows from `top` on, zeros around the frame, one after the other: each `lines` x `pitch`."""
    down, across = job.stride_rows, job.stride_columns
    for n in range(lines * down):
        inside = 0 <= top + n < job.height
        if inside:
            read_row(job, shot, top + n, row)
        for k in range(job.depth * across):
            d, column = k // across, k % across - job.left
            line = ((d * down + n % down) * across + k % across) * lines + n // down
            out = image[line * pitch : (line + 1) * pitch]
            begin = min(pitch, max(0, -(column // across)))
            end = max(begin, min(pitch, -((column - job.width) // across)))
            if not inside:
                begin = end = 0
            out[:begin] = 0
            out[end:] = 0
            if job.depth == 1 and across == 1:
                _copy(row[column + begin : column + end], out[begin:end])
            else:
                for i in range(begin, end):
                    out[i] = row[(i * across + column) * job.depth + d]


@compiled
def _convolve(
    image: Array, start: int, count: int, offsets: NDArray[np.int64], weights: Array, lines_of_map: Array
) -> None:
    """Write `count` numbers of each channel's map, and some more up to a whole tile."""
    length, block = tile()
    taps, stretch, out = len(offsets), lines_of_map.shape[1], lines_of_map.reshape(-1)
    for c in range(0, lines_of_map.shape[0], block):
        for n in range(0, count, length):
            convolve(image, start + n, offsets, taps, weights, c * taps, out, c * stretch + n, stretch)


@compiled
def _fold(job: Any, start: int, r: int, end: int, pitch: int, values: Array, most: Array, row_of: Any) -> None:
    """Take the rows of the map below `end`, in the lines `values` from row `r` on, into the maxima of a window from `start`."""
    row, columns, flat = max(start, r), job.columns, values.reshape(-1)
    fresh = 1 if row == start else 0
    count, number = end - row - fresh, np.int32(row + fresh)
    for c in range(job.channels):
        line, at = c * values.shape[1] + (row - r) * pitch, c * most.shape[1]
        if fresh:
            _copy(flat[line : line + columns], most[c, :columns])
            row_of[c, :columns] = row
        if count:
            keep_larger(flat, line + fresh * pitch, pitch, count, number, most, row_of, at, columns)


@compiled
def _across(job: Any, most: Array, row_of: NDArray[np.int32], best: Array, places: NDArray[np.int32]) -> None:
    """Write the maxima over the columns of each window."""
    columns = job.columns
    where = np.empty(columns + LANES, np.int32)
    for c in range(job.channels):
        line = most[c]
        for k in range(columns):
            where[k] = row_of[c, k] * columns + k
        for j in range(job.pooled_columns):
            start = j * job.step_columns - job.pool_left
            begin, end = max(start, 0), min(start + job.window_columns, columns)
            best[j, c], places[j, c] = first_maximum(line, where, begin, end - begin)


@compiled
def by_kernel(job: Any, places: NDArray[np.int32], slopes: Array, sums: Array) -> None:
    """Write the derivative by the kernels of each of the shots `first` to `last` - 1, from that by its maxima, `slopes`.

    `sums` are (shots, channels, kernel rows, kernel columns x depth, and more up to a multiple of LANES).
    """
    long, lines = (
        ((job.columns - 1) * job.stride_columns + job.kernel_columns) * job.depth,
        job.kernel_rows * sums.shape[3],
    )
    image = np.zeros((job.rows * job.stride_rows + job.kernel_rows) * long + LANES, np.float32)
    for shot in range(job.first, job.last):
        _pad(job, shot, image, long)
        out = sums[shot].reshape(-1)
        out[:] = 0
        for i in range(job.pooled_rows):
            for j in range(job.pooled_columns):
                for c in range(job.channels):
                    if slopes[shot, i, j, c] != 0:  # half of them are, after a ReLU
                        at = _corner(job, places[shot, i, j, c], long)
                        for u in range(job.kernel_rows):
                            line = c * lines + u * sums.shape[3]
                            add_scaled(out, line, image, at + u * long, slopes[shot, i, j, c], sums.shape[3])


@compiled
def by_frames(job: Any, kernel: Array, places: NDArray[np.int32], slopes: Array, out: Array) -> None:
    """Write the derivative by the frames of the shots `first` to `last` - 1; `kernel` is as `sums` of one shot."""
    long, lines = (
        ((job.columns - 1) * job.stride_columns + job.kernel_columns) * job.depth,
        job.kernel_rows * kernel.shape[2],
    )
    image = np.empty((job.rows * job.stride_rows + job.kernel_rows) * long + LANES, np.float32)
    flat = kernel.reshape(-1)
    for shot in range(job.first, job.last):
        image[:] = 0
        for i in range(job.pooled_rows):
            for j in range(job.pooled_columns):
                for c in range(job.channels):
                    if slopes[shot, i, j, c] != 0:
                        at = _corner(job, places[shot, i, j, c], long)
                        for u in range(job.kernel_rows):
                            line = c * lines + u * kernel.shape[2]
                            add_scaled(image, at + u * long, flat, line, slopes[shot, i, j, c], kernel.shape[2])
        out[shot] = 0
        high, wide = _seen(job, long)
        for r in range(high):
            begin = (r + job.above) * long + job.left * job.depth
            _copy(image[begin : begin + wide * job.depth], out[shot, r].reshape(-1))


@compiled
def _corner(job: Any, place: int, long: int) -> int:
    row, column = place // job.columns, place % job.columns
    return int(row * job.stride_rows * long + column * job.stride_columns * job.depth)


@compiled
def _seen(job: Any, long: int) -> tuple[int, int]:
    """Return how many rows and columns of a frame the kernel meets: a step may leave out the last ones."""
    high = min(job.height, (job.rows - 1) * job.stride_rows + job.kernel_rows - job.above)
    return max(high, 0), max(min(job.width, long // job.depth - job.left), 0)


@compiled
def _pad(job: Any, shot: int, image: Array, long: int) -> None:
    """Write the frame into an image of rows `long` numbers long, whose padding is zero already."""
    high, wide = _seen(job, long)
    for r in range(high):
        begin = (r + job.above) * long + job.left * job.depth
        read_row(job, shot, r, image[begin : begin + wide * job.depth])


@compiled
def _copy(source: Array, target: Array) -> None:
    """Write a line of numbers over the first ones of another; numba takes seconds to compile an assignment of arrays."""
    for k in range(len(source)):
        target[k] = source[k]


@compiled
def total(sums: Array, out: Array) -> None:
    """Write the sums of `by_kernel` over all shots, in their order and double precision, as a kernel."""
    depth = out.shape[2]
    for u in range(out.shape[0]):
        for v in range(out.shape[1]):
            for d in range(depth):
                for c in range(out.shape[3]):
                    value = 0.0
                    for shot in range(len(sums)):
                        value += sums[shot, c, u, v * depth + d]
                    out[u, v, d, c] = value


@compiled
def rows_of(kernel: Array, length: int) -> Array:
    """Return a kernel as `by_frames` reads it: (channels, rows, `length`), zeros beyond the columns x depth of a row."""
    rows, columns, depth, channels = kernel.shape
    out = np.zeros((channels, rows, length), np.float32)
    for c in range(channels):
        for u in range(rows):
            for v in range(columns):
                for d in range(depth):
                    out[c, u, v * depth + d] = kernel[u, v, d, c]
    return out
