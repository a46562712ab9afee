"""Rows of frames as a network sees them, compiled: standardized while they are read."""

from typing import Any

import numpy as np
from numba import carray
from numpy.typing import NDArray

from xtcav_ml.learning.vector_code import compiled, pointer


@compiled
def read_row(job: Any, shot: int, row: int, out: NDArray[np.float32]) -> None:
    """Write the first numbers of a row of a frame, standardized as Keras' Normalization does it: to the same bits."""
    statistics = carray(pointer(job.statistics), 2, np.float32)
    mean, sd, start = statistics[0], statistics[1], (shot * job.height + row) * job.width * job.depth
    if job.pixels:
        whole = carray(pointer(job.frames + 2 * start), len(out), np.int16)
        for k in range(len(out)):
            out[k] = (np.float32(whole[k]) - mean) / sd
    else:
        numbers = carray(pointer(job.frames + 4 * start), len(out), np.float32)
        for k in range(len(out)):
            out[k] = (numbers[k] - mean) / sd
