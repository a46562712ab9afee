"""What TensorFlow calls: reads the tensors, lets threads run the loops of `conv_pool`, and reports what fails; no Python in it.

It speaks TensorFlow's C interface for kernels (tensorflow/c/kernels.h); `operations` makes it known. Threads are the system's,
started for each call within some 10 us: TensorFlow lends its own to C++ alone.
"""

import functools
from typing import Any

import numba
import numpy as np
from numba import carray, types

from xtcav_ml.learning import conv_pool, patch_moments
from xtcav_ml.learning.jobs import (
    ADDRESS,
    BY_FRAMES,
    BY_KERNEL,
    JOB,
    MOMENTS,
    POOL,
    SIZE,
    TAKEN,
    kernel_of,
    maxima_of,
    row_length,
    taps_of,
)
from xtcav_ml.learning.vector_code import compiled, pointer
from xtcav_ml.system.machine_code import cached

FLOAT, DOUBLE, INT32, INT16 = 1, 2, 3, 5  # TF_DataType
INVALID, EXHAUSTED = 3, 8  # TF_Code
_SIZES = np.frombuffer(
    b"sizes of frames, statistics, kernel, places, slopes, or the version, are not those of the geometry\0", np.uint8
)
_PLACES = np.frombuffer(b"places lie outside the map\0", np.uint8)
_THREADS = np.frombuffer(b"no thread could be started\0", np.uint8)
_MEMORY = np.frombuffer(b"too little memory is free\0", np.uint8)

_INT = types.int32


def _external(name: str, returned: Any, *arguments: Any) -> Any:
    return types.ExternalFunction(name, returned(*arguments))


_new_status = _external("TF_NewStatus", ADDRESS)
_set_status = _external("TF_SetStatus", types.void, ADDRESS, _INT, ADDRESS)
_get_code = _external("TF_GetCode", _INT, ADDRESS)
_delete_status = _external("TF_DeleteStatus", types.void, ADDRESS)
_fail = _external("TF_OpKernelContext_Failure", types.void, ADDRESS, ADDRESS)
_get_input = _external("TF_GetInput", types.void, ADDRESS, _INT, ADDRESS, ADDRESS)
_allocate = _external("TF_AllocateOutput", ADDRESS, ADDRESS, _INT, _INT, ADDRESS, _INT, types.uintp, ADDRESS)
_delete_tensor = _external("TF_DeleteTensor", types.void, ADDRESS)
_data_of = _external("TF_TensorData", ADDRESS, ADDRESS)
_count = _external("TF_TensorElementCount", types.int64, ADDRESS)
_type = _external("TF_TensorType", _INT, ADDRESS)
_dimension = _external("TF_Dim", types.int64, ADDRESS, _INT)
_start = _external("pthread_create", _INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS)
_join = _external("pthread_join", _INT, ADDRESS, ADDRESS)


@compiled
def _read(context: int, job: Any, version: int, status: int) -> Any:
    """Fill the job from the inputs and return their tensors; sets `status` where one has not the size that geometry says."""
    tensors, values, one = np.zeros(6, np.uint64), job.view(np.int64), job[0]
    _get_input(context, 0, tensors.ctypes.data, status)
    settings = carray(pointer(_data_of(tensors[0])), SIZE, np.int64)
    for i in range(SIZE):  # numba takes seconds to compile an assignment of arrays
        values[i] = settings[i]
    inputs = TAKEN[one.operation]
    for i in range(1, inputs):
        _get_input(context, i, tensors[i:].ctypes.data, status)
        values[SIZE + i] = _data_of(tensors[i])
    one.shots, one.pixels = _dimension(tensors[1], 0), 1 if _type(tensors[1]) == INT16 else 0
    maxima = one.shots * one.pooled_rows * one.pooled_columns * one.channels
    kernel = one.kernel_rows * one.kernel_columns * one.depth * one.channels
    sizes = (SIZE, one.shots * one.height * one.width * one.depth, 2, kernel, maxima, maxima)
    for i in range(inputs):
        if _count(tensors[i]) != sizes[i] or one.version != version:
            _set_status(status, INVALID, _SIZES.ctypes.data)
    return tensors


@compiled
def _output(context: int, index: int, kind: int, shape: Any, tensors: Any, status: int) -> int:
    """Allocate an output of four dimensions and return the address of its data; its tensor is put into `tensors`."""
    dimensions, size = np.array(shape, np.int64), 8 if kind == DOUBLE else 4
    tensors[index] = _allocate(context, index, kind, dimensions.ctypes.data, 4, size * dimensions.prod(), status)
    return _data_of(tensors[index]) if _get_code(status) == 0 else 0


@compiled
def _run(job: Any, tasks: int, status: int) -> None:
    """Let threads do the tasks, each a part of them, and wait; sets `status` if one could not be started or did not finish.

    An error in a thread, where memory is all that can be missing, only ends the thread: nobody else would hear of it.
    """
    if _get_code(status):
        return
    threads = max(1, min(job[0].threads, tasks))
    jobs, ids, started = np.empty(threads, job.dtype), np.zeros(threads, np.uint64), 0
    for i in range(threads):
        jobs[i] = job[0]
        jobs[i].first, jobs[i].last = tasks * i // threads, tasks * (i + 1) // threads
        if _start(ids[i:].ctypes.data, 0, job[0].worker, jobs[i:].ctypes.data):
            _set_status(status, EXHAUSTED, _THREADS.ctypes.data)
            break
        started += 1
    for i in range(started):
        _join(ids[i], 0)
        if not jobs[i].done:
            _set_status(status, EXHAUSTED, _MEMORY.ctypes.data)


@compiled
def _end(context: int, inputs: Any, outputs: Any, status: int) -> None:
    if _get_code(status):
        _fail(context, status)
    for tensors in (inputs, outputs):
        for tensor in tensors:
            if tensor:
                _delete_tensor(tensor)
    _delete_status(status)


@compiled
def _check_places(job: Any, status: int) -> None:
    for place in maxima_of(job, job.places, np.int32).reshape(-1):
        if not 0 <= place < job.rows * job.columns:
            _set_status(status, INVALID, _PLACES.ctypes.data)


@compiled
def _pool(context: int, job: Any, outputs: Any, status: int) -> None:
    one = job[0]
    shape = (one.shots, one.pooled_rows, one.pooled_columns, one.channels)
    weights = conv_pool.packed(kernel_of(one, one.kernel))
    one.kernel, one.numbers = weights.ctypes.data, len(weights)
    one.out = _output(context, 0, FLOAT, shape, outputs, status)
    one.places = _output(context, 1, INT32, shape, outputs, status)
    _run(job, one.shots * conv_pool.bands(one), status)
    weights[0] = 0  # else it might not live until here


@compiled
def _differentiate_by_kernel(context: int, job: Any, outputs: Any, status: int) -> None:
    """Compute a sum of each shot, then the sum of these, whatever the threads."""
    one = job[0]
    shape = (one.kernel_rows, one.kernel_columns, one.depth, one.channels)
    sums = np.empty((one.shots, one.channels, one.kernel_rows, row_length(one)), np.float32)
    one.out, out = sums.ctypes.data, _output(context, 0, FLOAT, shape, outputs, status)
    _run(job, one.shots, status)
    if _get_code(status) == 0:
        conv_pool.total(sums, kernel_of(one, out))


@compiled
def _differentiate_by_frames(context: int, job: Any, outputs: Any, status: int) -> None:
    one = job[0]
    one.out = _output(context, 0, FLOAT, (one.shots, one.height, one.width, one.depth), outputs, status)
    _run(job, one.shots, status)


@compiled
def _sum(context: int, job: Any, outputs: Any, status: int) -> None:
    """Sum over the patches of each shot, then over shots, whatever the threads."""
    one, taps = job[0], taps_of(job[0])
    sums = np.empty((one.shots, 1 + taps, taps), np.float64)
    shape = (1 + taps, one.kernel_rows, one.kernel_columns, one.depth)
    one.out, out = sums.ctypes.data, _output(context, 0, DOUBLE, shape, outputs, status)
    _run(job, one.shots, status)
    if _get_code(status) == 0:
        patch_moments.total_moments(sums, carray(pointer(out), (1 + taps, taps), np.float64))


@compiled
def _operate(context: int, job: Any, outputs: Any, status: int) -> None:
    if job[0].operation == POOL:
        _pool(context, job, outputs, status)
    elif job[0].operation == BY_KERNEL:
        _differentiate_by_kernel(context, job, outputs, status)
    elif job[0].operation == MOMENTS:
        _sum(context, job, outputs, status)
    else:
        _differentiate_by_frames(context, job, outputs, status)


def operating(version: int) -> Any:
    """Return the function that computes an operation, compiled or from numba's cache."""

    def compute(kernel: int, context: int) -> None:
        status, job, outputs = _new_status(), np.zeros(1, JOB), np.zeros(2, np.uint64)
        inputs = _read(context, job, version, status)
        if _get_code(status) == 0 and job[0].operation in (BY_KERNEL, BY_FRAMES):
            _check_places(job[0], status)
        try:
            if _get_code(status) == 0:
                _operate(context, job, outputs, status)
        except Exception:
            _set_status(status, EXHAUSTED, _MEMORY.ctypes.data)
        _end(context, inputs, outputs, status)

    return cached(functools.partial(numba.cfunc, types.void(ADDRESS, ADDRESS)), compute)
