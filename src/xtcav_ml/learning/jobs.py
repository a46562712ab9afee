"""What a thread does: a job that holds sizes and the addresses of arrays, and the compiled function that does its part of it.

TensorFlow's operations (`native_op`) and what predicts without TensorFlow (`frame_network`) let threads call the same function:
it is compiled once for a folder.
"""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import carray, types

from xtcav_ml.learning import conv_pool, patch_moments
from xtcav_ml.learning.conv_pool import Geometry
from xtcav_ml.learning.vector_code import LANES, compiled, pointer
from xtcav_ml.system import variables
from xtcav_ml.system.machine_code import cached
from xtcav_ml.system.progress import told

POOL, BY_KERNEL, BY_FRAMES, POOL_ALONE, MOMENTS = range(5)
"""What there is to do: pool the maps; differentiate, from the derivatives `slopes` by their maxima; sum (`patch_moments`).

POOL has its kernel packed already, for all threads; POOL_ALONE has it as it is.
"""

INPUTS = {
    "geometry": "int64",
    "frames": "Pixel",
    "statistics": "float",
    "kernel": "float",
    "places": "int32",
    "slopes": "float",
}
"""What operations take, and its types: `Pixel` is one of PIXELS, `statistics` are mean and s.d. of the pixels.

Frames are standardized by these row by row, as they are read; a mean of 0 and an s.d. of 1 leave them as they are.
"""

TAKEN = (4, 6, 6, 4, 3)  # how many of INPUTS each operation takes, by its number
PIXELS = ("float", "int16")
SETTINGS = (*Geometry._fields, "threads", "operation", "worker", "version")
"""What `geometry` holds; `worker` is the address of the function that a thread runs."""

SIZE = len(SETTINGS)
OTHERS = ("shots", "pixels", "out", "numbers", "first", "last", "done")
JOB = np.dtype([(name, np.int64) for name in (*SETTINGS, *INPUTS, *OTHERS)])
"""What a thread does: tasks `first` to `last` - 1 on the arrays at these addresses; `done` is 1 once it has done them all.

`pixels` is the place in PIXELS of what the frames are of.
"""

ADDRESS = types.uintp
MODULES = ("vector_code", "pixel_rows", "conv_pool", "patch_moments", "jobs", "native_op")
COMPILING = "compiling the convolutions, once for this folder (some 15 s)"


@compiled
def by_frames_of(job: Any, address: int) -> Any:
    """Return the derivatives by frames (shots, rows, columns, depth) in memory."""
    return carray(pointer(address), (job.shots, job.height, job.width, job.depth), np.float32)


@compiled
def kernel_of(job: Any, address: int) -> Any:
    """Return a kernel (rows, columns, depth, channels) in memory."""
    return carray(pointer(address), (job.kernel_rows, job.kernel_columns, job.depth, job.channels), np.float32)


@compiled
def maxima_of(job: Any, address: int, kind: Any) -> Any:
    """Return what there is for each maximum (shots, pooled rows, pooled columns, channels) in memory."""
    return carray(pointer(address), (job.shots, job.pooled_rows, job.pooled_columns, job.channels), kind)


@compiled
def row_length(job: Any) -> int:
    """Return the length of a row of a kernel, all its channels in, in the arrays of `conv_pool`'s gradients."""
    return int(-(-job.kernel_columns * job.depth // LANES) * LANES)


@compiled
def taps_of(job: Any) -> int:
    """Return how many pixels a kernel meets at a place."""
    return int(job.kernel_rows * job.kernel_columns * job.depth)


@compiled
def _do(job: Any) -> None:
    """Do a thread's part."""
    if job.operation == MOMENTS:
        taps = taps_of(job)
        patch_moments.moments(job, carray(pointer(job.out), (job.shots, 1 + taps, taps), np.float64))
        return
    places, slopes = maxima_of(job, job.places, np.int32), maxima_of(job, job.slopes, np.float32)
    if job.operation in (POOL, POOL_ALONE):
        weights, best = carray(pointer(job.kernel), job.numbers, np.float32), maxima_of(job, job.out, np.float32)
        if job.operation == POOL_ALONE:
            weights = conv_pool.packed(kernel_of(job, job.kernel))
        conv_pool.max_pool(job, weights, best, places)
    elif job.operation == BY_KERNEL:
        sums = carray(pointer(job.out), (job.shots, job.channels, job.kernel_rows, row_length(job)), np.float32)
        conv_pool.by_kernel(job, places, slopes, sums)
    else:
        rows = conv_pool.rows_of(kernel_of(job, job.kernel), row_length(job))
        conv_pool.by_frames(job, rows, places, slopes, by_frames_of(job, job.out))


class Worker(NamedTuple):
    """The compiled function, and the version that a job for it must name."""

    address: int
    version: int
    run: Callable[[int], Any]  # with the address of a job; other threads may run Python meanwhile
    alive: Any  # else the machine code would go


@functools.cache
def worker() -> Worker:
    """Return the function of this process, from numba's cache if it has been compiled in this folder."""
    number = _version()
    with told(COMPILING):
        function = working(number)
    return Worker(function.address, number, function.ctypes, function)


def working(version: int) -> Any:
    """Return the function that does the part of a job at an address, and marks it as done."""

    def work(address: Any) -> Any:
        job = carray(address, 1, JOB)[0]
        if job.version == version:
            _do(job)
            job.done = 1
        return address

    return cached(functools.partial(numba.cfunc, types.voidptr(types.voidptr)), work)


def _version() -> int:
    """Return a digest of all that decides the machine code: of a function numba's cache knows its file and what it encloses."""
    sources = b"".join(Path(__file__).with_name(f"{name}.py").read_bytes() for name in MODULES)
    switches = repr(variables.counted(["numba"])).encode()
    return int.from_bytes(hashlib.blake2b(sources + switches, digest_size=7).digest())
