"""Keras, imported in one place: quietly, on the backend that KERAS_BACKEND names (TensorFlow by default), deterministic."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.learning import rules
from xtcav_ml.system.errors import UserError


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Send what C++ writes to the terminal to nowhere: TensorFlow greets before any of its switches is read."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextlib.contextmanager
def _without(*names: str) -> Iterator[None]:
    """Let an import meanwhile find these packages missing, unless they have been imported before."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


os.environ["KERAS_BACKEND"] = rules.backend_name()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # real errors come as exceptions
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"  # part of what decides the bits of a result

UNASKED = {"jax", "matplotlib", "sklearn"} - {os.environ["KERAS_BACKEND"]}
"""What Keras and TensorFlow import where it is there, for conversions and pictures that are not used here: a third of the
time that a stage takes to start."""

with _quiet(), _without(*UNASKED):
    import keras


def name() -> str:
    """Return the backend that Keras runs on: tensorflow or jax."""
    return str(keras.backend.backend())


def configure(seed: int, threads: int) -> str:
    """Make this process deterministic and give TensorFlow its threads; returns what Keras will run on, for the log.

    Call it once, before any network is built. Raises UserError if TensorFlow was already used with other threads.
    """
    keras.utils.set_random_seed(seed)
    if name() == "jax":
        import jax

        return f"JAX on {', '.join(device.device_kind for device in jax.devices())}"
    import tensorflow as tf

    try:
        with _quiet():
            gpus = tf.config.list_physical_devices("GPU")
        if tf.config.threading.get_intra_op_parallelism_threads() != threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:
        raise UserError(
            f"train.threads: must be set before TensorFlow runs, got {threads} in a process that already used it; "
            "start a new process"
        ) from None
    tf.config.experimental.enable_op_determinism()
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    return f"TensorFlow on {', '.join(names)}" if gpus else f"TensorFlow on CPU, {threads} threads"


def runs_fused_layers() -> bool:
    """Return whether `fused_conv` can be used: on TensorFlow, and faster than stock layers on a CPU alone."""
    if name() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.config.list_physical_devices("GPU")


def feed(batches: keras.utils.PyDataset) -> Any:
    """Return what `fit` shall be given for `batches`: on TensorFlow a pipeline that makes one minibatch while another trains.

    Keras' own keeps as many ready as TensorFlow likes, which was 14 of 106 MB each.
    """
    if name() != "tensorflow":
        return batches
    import tensorflow as tf

    def made() -> Iterator[Any]:
        for index in range(len(batches)):
            yield batches[index]

    first = keras.tree.map_structure(lambda values: tf.TensorSpec((None, *values.shape[1:]), values.dtype), batches[0])
    dataset = tf.data.Dataset.from_generator(made, output_signature=first)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(batches))).prefetch(1)


def free_on_gpu() -> int:
    """Return the bytes that are free on the GPU that JAX trains on; 0 where there is none.

    0 on TensorFlow too, where Keras makes every minibatch on the CPU.
    """
    if name() != "jax":
        return 0
    import jax

    if jax.default_backend() == "cpu":
        return 0
    known = jax.devices()[0].memory_stats() or {}
    return int(known.get("bytes_limit", 0)) - int(known.get("bytes_in_use", 0))


def place(parts: Iterable[NDArray[Any]]) -> Any:
    """Return one array, of `parts` after each other, on the device that JAX trains on."""
    import jax

    return jax.numpy.concatenate([jax.device_put(part) for part in parts])


def gradient(function: Callable[[Any], Any], values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the derivative at `values`, of their shape, of the sum of what `function` makes of them.

    Keras has no gradient of its own.
    """
    if name() == "tensorflow":
        import tensorflow as tf

        given = tf.convert_to_tensor(values)
        with tf.GradientTape() as tape:
            tape.watch(given)
            total = tf.reduce_sum(function(given))
        return np.asarray(tape.gradient(total, given))
    import jax

    return np.asarray(jax.grad(lambda given: function(given).sum())(values))


@contextlib.contextmanager
def precision(policy: str) -> Iterator[None]:
    """Let the layers that are made meanwhile compute in `policy`: float32, mixed_bfloat16 or mixed_float16."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


__all__ = ["configure", "feed", "free_on_gpu", "gradient", "keras", "name", "place", "precision", "runs_fused_layers"]
