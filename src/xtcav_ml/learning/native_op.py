"""What TensorFlow calls: reads the tensors, lets threads run the loops of `conv_pool`, and reports what fails; no Python in it.

It speaks TensorFlow's C interface for kernels (tensorflow/c/kernels.h); `operations` makes it known. Threads are the system's,
started for each call within some 10 us: TensorFlow lends its own to C++ alone.
"""

import functools
from typing import Any

import numba
import numpy as np
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from xtcav_ml.learning import conv_pool
from xtcav_ml.learning.conv_pool import Geometry
from xtcav_ml.learning.machine_code import cached
from xtcav_ml.learning.vector_code import LANES, compiled

POOL, BY_KERNEL, BY_FRAMES = range(3)
"""What there is to do: pool the maps, or differentiate, from the derivatives `slopes` by their maxima."""

INPUTS = {"geometry": "int64", "frames": "float", "kernel": "float", "places": "int32", "slopes": "float"}
SETTINGS = (*Geometry._fields, "threads", "operation", "worker", "version")
"""What `geometry` holds; `worker` is the address of the function that a thread runs."""

SIZE = len(SETTINGS)
JOB = np.dtype([(name, np.int64) for name in (*SETTINGS, *INPUTS, "shots", "out", "numbers", "first", "last", "done")])
"""What a thread does: tasks `first` to `last` - 1 on the arrays at these addresses; `done` is 1 once it has done them all."""

FLOAT, INT32 = 1, 3  # TF_DataType
INVALID, EXHAUSTED = 3, 8  # TF_Code
_SIZES = np.frombuffer(
    b"sizes of frames, kernel, places, slopes, or the version, are not those of the geometry\0", np.uint8
)
_PLACES = np.frombuffer(b"places lie outside the map\0", np.uint8)
_THREADS = np.frombuffer(b"no thread could be started\0", np.uint8)
_MEMORY = np.frombuffer(b"too little memory is free\0", np.uint8)

_ADDRESS, _INT = types.uintp, types.int32


def _external(name: str, returned: Any, *arguments: Any) -> Any:
    return types.ExternalFunction(name, returned(*arguments))


_new_status = _external("TF_NewStatus", _ADDRESS)
_set_status = _external("TF_SetStatus", types.void, _ADDRESS, _INT, _ADDRESS)
_get_code = _external("TF_GetCode", _INT, _ADDRESS)
_delete_status = _external("TF_DeleteStatus", types.void, _ADDRESS)
_fail = _external("TF_OpKernelContext_Failure", types.void, _ADDRESS, _ADDRESS)
_get_input = _external("TF_GetInput", types.void, _ADDRESS, _INT, _ADDRESS, _ADDRESS)
_allocate = _external("TF_AllocateOutput", _ADDRESS, _ADDRESS, _INT, _INT, _ADDRESS, _INT, types.uintp, _ADDRESS)
_delete_tensor = _external("TF_DeleteTensor", types.void, _ADDRESS)
_data_of = _external("TF_TensorData", _ADDRESS, _ADDRESS)
_count = _external("TF_TensorElementCount", types.int64, _ADDRESS)
_dimension = _external("TF_Dim", types.int64, _ADDRESS, _INT)
_start = _external("pthread_create", _INT, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS)
_join = _external("pthread_join", _INT, _ADDRESS, _ADDRESS)


@intrinsic  # type: ignore[untyped-decorator]
def _pointer(typing: Any, address: Any) -> Any:
    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(_ADDRESS), write


@compiled
def _read(context: int, job: Any, version: int, status: int) -> Any:
    """Fill the job from the inputs and return their tensors; sets `status` where one has not the size that geometry says."""
    tensors, values, one = np.zeros(5, np.uint64), job.view(np.int64), job[0]
    _get_input(context, 0, tensors.ctypes.data, status)
    settings = carray(_pointer(_data_of(tensors[0])), SIZE, np.int64)
    for i in range(SIZE):
        values[i] = settings[i]
    inputs = 3 if one.operation == POOL else 5
    for i in range(1, inputs):
        _get_input(context, i, tensors[i:].ctypes.data, status)
        values[SIZE + i] = _data_of(tensors[i])
    one.shots = _dimension(tensors[1], 0)
    maxima = one.shots * one.pooled_rows * one.pooled_columns * one.channels
    kernel = one.kernel_rows * one.kernel_columns * one.depth * one.channels
    sizes = (SIZE, one.shots * one.height * one.width * one.depth, kernel, maxima, maxima)
    for i in range(inputs):
        if _count(tensors[i]) != sizes[i] or one.version != version:
            _set_status(status, INVALID, _SIZES.ctypes.data)
    return tensors


@compiled
def _output(context: int, index: int, kind: int, shape: Any, tensors: Any, status: int) -> int:
    """Allocate an output of 4-byte numbers and return the address of its data; its tensor is put into `tensors`."""
    dimensions = np.array(shape, np.int64)
    tensors[index] = _allocate(context, index, kind, dimensions.ctypes.data, 4, 4 * dimensions.prod(), status)
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
def _frames(job: Any, address: int) -> Any:
    return carray(_pointer(address), (job.shots, job.height, job.width, job.depth), np.float32)


@compiled
def _kernel(job: Any, address: int) -> Any:
    return carray(_pointer(address), (job.kernel_rows, job.kernel_columns, job.depth, job.channels), np.float32)


@compiled
def _maxima(job: Any, address: int, kind: Any) -> Any:
    return carray(_pointer(address), (job.shots, job.pooled_rows, job.pooled_columns, job.channels), kind)


@compiled
def _lines(job: Any) -> int:
    """Return the length of a row of a kernel, all its channels in, in the arrays of `conv_pool`'s gradients."""
    return int(-(-job.kernel_columns * job.depth // LANES) * LANES)


@compiled
def _check_places(job: Any, status: int) -> None:
    for place in _maxima(job, job.places, np.int32).reshape(-1):
        if not 0 <= place < job.rows * job.columns:
            _set_status(status, INVALID, _PLACES.ctypes.data)


@compiled
def _pool(context: int, job: Any, outputs: Any, status: int) -> None:
    one = job[0]
    shape = (one.shots, one.pooled_rows, one.pooled_columns, one.channels)
    weights = conv_pool.packed(_kernel(one, one.kernel))
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
    sums = np.empty((one.shots, one.channels, one.kernel_rows, _lines(one)), np.float32)
    one.out, out = sums.ctypes.data, _output(context, 0, FLOAT, shape, outputs, status)
    _run(job, one.shots, status)
    if _get_code(status) == 0:
        conv_pool.total(sums, _kernel(one, out))


@compiled
def _differentiate_by_frames(context: int, job: Any, outputs: Any, status: int) -> None:
    one = job[0]
    one.out = _output(context, 0, FLOAT, (one.shots, one.height, one.width, one.depth), outputs, status)
    _run(job, one.shots, status)


@compiled
def _operate(context: int, job: Any, outputs: Any, status: int) -> None:
    if job[0].operation == POOL:
        _pool(context, job, outputs, status)
    elif job[0].operation == BY_KERNEL:
        _differentiate_by_kernel(context, job, outputs, status)
    else:
        _differentiate_by_frames(context, job, outputs, status)


@compiled
def _do(job: Any) -> None:
    """Do a thread's part."""
    places, slopes = _maxima(job, job.places, np.int32), _maxima(job, job.slopes, np.float32)
    if job.operation == POOL:
        weights, best = carray(_pointer(job.kernel), job.numbers, np.float32), _maxima(job, job.out, np.float32)
        conv_pool.max_pool(job, _frames(job, job.frames), weights, best, places)
    elif job.operation == BY_KERNEL:
        sums = carray(_pointer(job.out), (job.shots, job.channels, job.kernel_rows, _lines(job)), np.float32)
        conv_pool.by_kernel(job, _frames(job, job.frames), places, slopes, sums)
    else:
        rows = conv_pool.rows_of(_kernel(job, job.kernel), _lines(job))
        conv_pool.by_frames(job, rows, places, slopes, _frames(job, job.out))


def functions(version: int) -> tuple[Any, Any]:
    """Return the function that computes an operation and the one that its threads run, compiled or from numba's cache."""

    def compute(kernel: int, context: int) -> None:
        status, job, outputs = _new_status(), np.zeros(1, JOB), np.zeros(2, np.uint64)
        inputs = _read(context, job, version, status)
        if _get_code(status) == 0 and job[0].operation != POOL:
            _check_places(job[0], status)
        try:
            if _get_code(status) == 0:
                _operate(context, job, outputs, status)
        except Exception:
            _set_status(status, EXHAUSTED, _MEMORY.ctypes.data)
        _end(context, inputs, outputs, status)

    def work(pointer: Any) -> Any:
        job = carray(pointer, 1, JOB)[0]
        if job.version == version:
            _do(job)
            job.done = 1
        return pointer

    computing = cached(functools.partial(numba.cfunc, types.void(_ADDRESS, _ADDRESS)), compute)
    return computing, cached(functools.partial(numba.cfunc, types.voidptr(types.voidptr)), work)
