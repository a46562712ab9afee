"""Sums and products of the pixels that a kernel meets, over all places: compiled loops over the frames of one thread.

They are all that batch normalization needs of a map of which only maxima are kept. With the patch x of a place (the pixels
under the kernel, as a vector), the map is y = w x. So over all places sum(y) = w sum(x), and sum(y y) = w sum(x x') w': mean
and variance of each channel, and their derivatives by the kernel, follow from sum(x) and from the matrix sum(x x'), which do
not depend on the kernel.

Two pixels of a patch that are a step (d, e) of rows and columns apart contribute to the matrix a sum over places of pixel times
pixel (d, e) further. For all such pairs of pixels these sums differ by rows and columns at the frame's border alone. So each
step's sum is taken once, as the correlation of two rows, and what a pair leaves out at the border is subtracted: with a kernel
of 12 x 12 there are 276 steps, not 10,440 pairs.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.learning.pixel_rows import read_row
from xtcav_ml.learning.vector_code import compiled, convolve, tile

Sums = NDArray[np.float64]


@compiled
def moments(job: Any, out: Sums) -> None:
    """Write those of the shots `first` to `last` - 1: (shots, 1 + T, T), T pixels of the kernel row by row.

    The first row of a shot is sum(x), the others are sum(x x'). Steps of the kernel are one pixel, and a pixel has one number.
    """
    rows, columns = job.rows + job.kernel_rows - 1, job.columns + job.kernel_columns - 1  # of a frame with its padding
    length, block = tile()
    steps = 2 * job.kernel_columns - 1
    slots, lanes = -(-job.kernel_rows // block) * block, -(-steps // length) * length
    line = np.zeros(columns + lanes + length, np.float32)
    before = np.empty(
        slots * columns, np.float32
    )  # the last rows: row r in slot r % slots, in blocks as `convolve` reads them
    products = np.empty(slots * lanes, np.float32)
    offsets = np.arange(columns)
    inner = np.empty((job.kernel_rows, steps, steps), np.float64)  # of rows that all pixels of the kernel meet
    border = np.empty(
        (job.kernel_rows, job.kernel_rows, steps, steps), np.float64
    )  # of others, by the row of the kernel
    for shot in range(job.first, job.last):
        out[shot] = 0
        before[:] = 0
        inner[:] = 0
        border[:] = 0
        for q in range(rows):
            _pad(job, shot, q - job.above, line[job.kernel_columns - 1 : job.kernel_columns - 1 + columns])
            _keep(line, job.kernel_columns - 1, before, q % slots, block, columns)
            for first in range(0, slots, block):
                for n in range(0, lanes, length):
                    convolve(line, n, offsets, columns, before, first * columns, products, first * lanes + n, lanes)
            for d in range(min(job.kernel_rows, q + 1)):
                r, most = q - d, job.kernel_rows - 1 - d
                slot = r % slots
                low, high = max(0, r - job.rows + 1), min(r, most)  # rows of the kernel that may meet this one
                for u in range(low, high + 1):
                    if high - low < most:
                        _add(job, line, before, slot, block, products[slot * lanes :], border[u, d])
                    elif u == low:
                        _add(job, line, before, slot, block, products[slot * lanes :], inner[d])
            for u in range(max(0, q - job.rows + 1), min(q, job.kernel_rows - 1) + 1):
                _sum(job, line, out[shot, 0, u * job.kernel_columns : (u + 1) * job.kernel_columns])
        _finish(job, inner, border, out[shot])


@compiled
def _pad(job: Any, shot: int, row: int, out: NDArray[np.float32]) -> None:
    """Write a row of a frame with its padding; a row beyond the frame is padding alone."""
    out[:] = 0
    if 0 <= row < job.height:
        read_row(job, shot, row, out[job.left : min(job.left + job.width, len(out))])


@compiled
def _keep(line: Any, start: int, before: Any, slot: int, block: int, columns: int) -> None:
    at = slot // block * block * columns + slot % block
    for k in range(columns):
        before[at + k * block] = line[start + k]


@compiled
def _add(job: Any, line: Any, before: Any, slot: int, block: int, products: Any, out: Sums) -> None:
    """Add the products of two rows: of all columns, of each of the first ones, and of each of the last ones."""
    edge, steps = job.kernel_columns - 1, out.shape[0]
    at = slot // block * block * (job.columns + edge) + slot % block
    for n in range(steps):
        out[0, n] += products[n]
    for k in range(edge):
        for column, to in ((k, 1 + k), (job.columns + k, 1 + edge + k)):
            value = np.float64(before[at + column * block])
            for n in range(steps):
                out[to, n] += value * line[column + n]


@compiled
def _sum(job: Any, line: Any, out: Any) -> None:
    """Add the sums of the pixels of a row that each column of the kernel meets."""
    edge, total = job.kernel_columns - 1, 0.0
    for k in range(job.columns):
        total += line[edge + k]
    for v in range(job.kernel_columns):
        out[v] += total
        total += line[edge + job.columns + v] - line[edge + v]


@compiled
def _finish(job: Any, inner: Sums, border: Sums, out: Sums) -> None:
    """Write the products of all pairs: those of all columns, less the ones that a pair does not meet."""
    edge, wide = job.kernel_columns - 1, job.kernel_columns
    for u in range(job.kernel_rows):
        for d in range(job.kernel_rows - u):
            for v in range(wide):
                for w in range(wide):
                    n = w - v + edge
                    value = inner[d, 0, n] + border[u, d, 0, n]
                    for k in range(edge):
                        row = 1 + k if k < v else 1 + edge + k
                        value -= inner[d, row, n] + border[u, d, row, n]
                    one, other = u * wide + v, (u + d) * wide + w
                    out[1 + one, other] = value
                    out[1 + other, one] = value


@compiled
def total_moments(sums: Sums, out: Any) -> None:
    """Write the sums over all shots, in their order."""
    for i in range(sums.shape[1]):
        for j in range(sums.shape[2]):
            value = 0.0
            for shot in range(len(sums)):
                value += sums[shot, i, j]
            out[i, j] = value
