"""Operations of TensorFlow compiled by numba: no compiler at installation, and no Python between TensorFlow and the loops.

TensorFlow's C interface takes the address of a function, and numba gives one: `native_op`.
"""

import ctypes
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import llvmlite.binding  # type: ignore[import-untyped]
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2
from tensorflow.python.eager import context, execute

from xtcav_ml.learning import jobs, native_op
from xtcav_ml.learning.conv_pool import Geometry
from xtcav_ml.learning.jobs import BY_FRAMES, BY_KERNEL, INPUTS, MOMENTS, POOL, SETTINGS, TAKEN
from xtcav_ml.system.progress import told

OPERATIONS = {
    POOL: ("XtcavConvMaxPool", ("best: float", "places: int32")),
    BY_KERNEL: ("XtcavConvMaxPoolByKernel", ("by_kernel: float",)),
    BY_FRAMES: ("XtcavConvMaxPoolByFrames", ("by_frames: float",)),
    MOMENTS: ("XtcavPatchMoments", ("moments: double",)),
}
"""The name of each operation and its outputs: `conv_pool` and `patch_moments` describe them."""


@functools.cache
def _registered() -> Mapping[str, Any]:
    """Make the operations known to the TensorFlow of this process; return `worker` and `version`."""
    (path,) = Path(tf.sysconfig.get_lib()).glob("libtensorflow_framework.*")
    llvmlite.binding.load_library_permanently(str(path))
    with told(jobs.COMPILING):
        worker = jobs.worker()
        compute = native_op.operating(worker.version)
    library = ctypes.CDLL(str(path))
    for operation, (name, outputs) in OPERATIONS.items():
        inputs = list(INPUTS.items())[: TAKEN[operation]]
        _register(library, name.encode(), inputs, outputs, compute.address)
    return {"worker": worker.address, "version": worker.version, "alive": compute}


def _register(library: Any, name: bytes, inputs: Any, outputs: Any, address: int) -> None:
    for function in ("TF_NewOpDefinitionBuilder", "TF_NewKernelBuilder", "TF_NewStatus"):
        getattr(library, function).restype = ctypes.c_void_p
    pointer, status = ctypes.c_void_p, ctypes.c_void_p(library.TF_NewStatus())
    definition = pointer(library.TF_NewOpDefinitionBuilder(name))
    for each in inputs:
        library.TF_OpDefinitionBuilderAddInput(definition, ": ".join(each).encode())
    for each in outputs:
        library.TF_OpDefinitionBuilderAddOutput(definition, each.encode())
    library.TF_OpDefinitionBuilderAddAttr(definition, f"Pixel: {{{', '.join(jobs.PIXELS)}}}".encode())
    unknown = ctypes.cast(library.TF_ShapeInferenceContextSetUnknownShape, pointer)
    library.TF_OpDefinitionBuilderSetShapeInferenceFunction(definition, unknown)
    library.TF_RegisterOpDefinition(definition, status)
    kernel = pointer(library.TF_NewKernelBuilder(name, b"CPU", None, pointer(address), None))
    library.TF_RegisterKernelBuilder(name, kernel, status)
    if code := library.TF_GetCode(status):
        raise RuntimeError(f"{name.decode()}: not registered (found code {code}, expected 0)")
    library.TF_DeleteStatus(status)


def call(operation: int, *inputs: Any, geometry: Geometry, threads: int) -> list[Any]:
    """Return the outputs of one of OPERATIONS, in the graph that is being built, if one is."""
    settings = {**geometry._asdict(), "threads": threads, "operation": operation, **_registered()}
    values = tf.constant([settings[each] for each in SETTINGS], tf.int64)
    name, outputs = OPERATIONS[operation]
    kinds = [tf.as_dtype(each.split(": ")[1]) for each in outputs]
    pixel = tf.as_dtype(inputs[0].dtype).as_datatype_enum
    if tf.executing_eagerly():
        return list(execute.execute(name, len(outputs), [values, *inputs], ("Pixel", pixel), context.context()))
    attributes = {"Pixel": attr_value_pb2.AttrValue(type=pixel)}
    return list(tf.compat.v1.get_default_graph().create_op(name, [values, *inputs], kinds, attrs=attributes).outputs)
