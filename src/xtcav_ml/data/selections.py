"""Whether selections of a virtual dataset, as HDF5 has them, cover it."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray


def cover(spaces: Sequence[Any], shape: tuple[int, ...]) -> bool:
    """Return whether regular selections of a dataset of `shape` cover each of its values once.

    Selections of the same pixels cover rows, which are counted one by one; different pixels must be blocks that do not overlap.
    """
    counts: dict[tuple[tuple[int, int], ...], NDArray[np.int64]] = {}
    for space in spaces:
        slab = _slab(space, shape)
        if slab is None:
            return False
        rows, pixels = slab
        np.add.at(counts.setdefault(pixels, np.zeros(shape[0], np.int64)), rows, 1)
    area = sum(math.prod(last - first for first, last in block) for block in counts)
    return (
        all((times == 1).all() for times in counts.values())
        and area == math.prod(shape[1:])
        and not any(_overlap(one, other) for one, other in itertools.combinations(counts, 2))
    )


def _slab(space: Any, shape: tuple[int, ...]) -> tuple[NDArray[np.int64], tuple[tuple[int, int], ...]] | None:
    """Return the rows and the block of pixels (first, last + 1) that a selection has; None if it is of another form."""
    if space.get_select_type() == h5py.h5s.SEL_ALL:
        return np.arange(shape[0]), tuple((0, length) for length in shape[1:])
    if space.get_select_type() != h5py.h5s.SEL_HYPERSLABS or not space.is_regular_hyperslab():
        return None
    axes = list(zip(*space.get_regular_hyperslab(), shape, strict=True))
    for start, stride, count, block, length in axes:
        if max(count, block) > length or start + (count - 1) * stride + block > length:  # as one without an end
            return None
    if any(count != 1 and stride != block for _, stride, count, block, _ in axes[1:]):
        return None
    start, stride, count, block, _ = axes[0]
    rows = (start + stride * np.arange(count)[:, np.newaxis] + np.arange(block)).ravel()
    return rows, tuple((start, start + count * block) for start, _, count, block, _ in axes[1:])


def _overlap(one: Sequence[tuple[int, int]], other: Sequence[tuple[int, int]]) -> bool:
    return all(first < end and start < last for (first, last), (start, end) in zip(one, other, strict=True))
