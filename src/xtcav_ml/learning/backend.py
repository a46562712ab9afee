"""Keras, imported in one place: quietly, on the backend that KERAS_BACKEND names (TensorFlow by default), deterministic."""

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.learning import rules
from xtcav_ml.lineage import environment
from xtcav_ml.system import freed_memory, variables
from xtcav_ml.system.errors import UserError, reason, warn


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Discard what C++ writes to the terminal: TensorFlow prints a greeting before it reads any of its switches."""
    sys.stderr.flush()
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)


@contextlib.contextmanager
def _without(*names: str) -> Iterator[None]:
    """Hide these packages from imports, unless they are imported already."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


rules.require_backend()
os.environ["KERAS_BACKEND"] = environment.backend()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # real errors come as exceptions
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # what a step uses, not three quarters of the GPU
variables.pin()

UNUSED = {"jax", "matplotlib", "sklearn"} - {os.environ["KERAS_BACKEND"]}
"""Optional imports of Keras and TensorFlow, for conversions and pictures: a third of the time that a stage takes to start."""

OTHERS = {"tensorflow", "torch"} - {os.environ["KERAS_BACKEND"]}
"""Backends whose random generators Keras seeds, too, which it would import for that."""

INSTRUCTIONS = "ONEDNN_MAX_CPU_ISA"

with _quiet(), _without(*UNUSED):
    import keras

__all__ = [
    "WHOLE",
    "Share",
    "allow_half_precision",
    "bring",
    "configure",
    "enough_memory",
    "feed",
    "free_on_gpu",
    "gradient",
    "join",
    "keras",
    "name",
    "precision",
    "runs_fused_layers",
    "share",
    "to_device",
]


@dataclass(frozen=True)
class Share:
    """What process `number`, from 0, has `of` several that train together: as much of each minibatch as each other one."""

    number: int
    of: int

    def of_minibatch(self, size: int) -> slice:
        """Return which of the `size` shots of a minibatch are its own; `of` divides `size`."""
        count = size // self.of
        return slice(self.number * count, (self.number + 1) * count)


WHOLE = Share(0, 1)


class _Together(keras.distribution.DataParallel):  # type: ignore[misc]
    """Processes with the same weights, of which each brings its share of a minibatch, or, if `whole`, all of it."""

    whole = False

    def get_data_layout(self, data_shape: Any) -> Any:
        """Return where the arrays of this shape are that each process brings, for Keras."""
        layout = super().get_data_layout(data_shape)
        return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh) if self.whole else layout


def join(address: str, processes: int, number: int) -> keras.distribution.DataParallel:
    """Connect this process, on JAX, with others that train together; return what Keras needs to train in its scope.

    Number 0 listens at `address`, host:port. Call it before `configure`; it returns once all have called it.
    """
    import jax

    jax.config.update("jax_enable_preemption_service", False)  # it would swallow SIGTERM
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    keras.distribution.initialize(address, processes, number)
    return _Together(auto_shard_dataset=False)


def share() -> Share:
    """Return this process' share of a training: all of it, unless it is in the scope of what `join` returns."""
    distribution = keras.distribution.distribution()
    return WHOLE if distribution is None else Share(distribution.data_shard_id, distribution.num_processes)


def bring(brought: Share) -> None:
    """Tell Keras which share of the next minibatches this process brings: its own, or WHOLE, of which each computes all."""
    distribution = keras.distribution.distribution()
    if distribution is not None:
        distribution.whole = brought == WHOLE


def name() -> str:
    """Return the backend that Keras runs on: tensorflow or jax."""
    return str(keras.backend.backend())


def configure(seed: int, threads: int) -> str:
    """Make this process deterministic and set TensorFlow's threads; return backend and device, for the log.

    Call it once, before any network is built. Raises UserError if TensorFlow already runs with other threads.
    """
    freed_memory.keep()
    with _without(*OTHERS):
        keras.utils.set_random_seed(seed)
    if name() == "jax":
        import jax

        with _quiet():
            on_gpu = jax.default_backend() != "cpu"
        if on_gpu and jax.config.jax_default_matmul_precision is None:
            jax.config.update("jax_default_matmul_precision", "highest")  # else TensorFloat-32, of 11 bits
        if not on_gpu and not os.environ.get("JAX_PLATFORMS"):
            _warn_of_unused_gpu("requirements-jax.txt")
        return f"JAX on {jax.devices()[0].device_kind}"  # it trains on the first
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
            f"train.threads: TensorFlow already runs in this process (found {threads}, expected the number it began with). "
            "Fix: start a new process"
        ) from None
    tf.config.experimental.enable_op_determinism()
    if gpus:
        tf.config.experimental.enable_tensor_float_32_execution(False)
    else:
        _warn_of_unused_gpu("requirements-cuda.txt")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    return f"TensorFlow on {', '.join(names)}" if gpus else f"TensorFlow on CPU, {threads} threads"


@functools.cache  # a stage configures more than once
def _warn_of_unused_gpu(lock: str) -> None:
    if variables.has_gpu():
        warn(
            f"KERAS_BACKEND: the GPU of this machine is not used (found {name()} on a CPU, expected the GPU's libraries). Fix: "
            f"run `.venv/bin/pip install --require-hashes -r {lock}`, or hide the GPU with CUDA_VISIBLE_DEVICES=-1"
        )


@contextlib.contextmanager
def enough_memory() -> Iterator[None]:
    """Raise UserError if what runs here needs more memory, of the GPU or the machine, than is free."""
    try:
        yield
    except Exception as error:
        if type(error).__name__ != "ResourceExhaustedError" and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UserError(
            f"train.batch_size: a training step takes more memory than is free (found {reason(error)!r}, expected enough). "
            f"Fix: {rules.CURES['train.batch_size']}, make the network smaller, or end what else uses the memory"
        ) from None


def runs_fused_layers() -> bool:
    """Return whether to use `fused_conv`: it needs TensorFlow, and is faster than the stock layers on a CPU only."""
    if name() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.config.list_physical_devices("GPU")


def feed(batches: keras.utils.PyDataset) -> Any:
    """Return `batches` as `model.fit` takes them: on TensorFlow a pipeline that reads one minibatch while another trains.

    Keras' own pipeline keeps as many ready as TensorFlow likes, which was 14 of 106 MB each. A thread reads ahead, since
    TensorFlow's `prefetch` does not where operations are deterministic and Python is asked for the minibatches
    (tensorflow/core/grappler/optimizers/data/make_deterministic.cc).
    """
    if name() != "tensorflow":
        return batches
    import tensorflow as tf

    def minibatches() -> Iterator[Any]:
        with ThreadPoolExecutor(1, "minibatches") as reader:
            reading = reader.submit(batches.__getitem__, 0)
            for following in range(1, len(batches) + 1):
                minibatch = reading.result()
                if following < len(batches):
                    reading = reader.submit(batches.__getitem__, following)
                yield minibatch

    first = keras.tree.map_structure(lambda values: tf.TensorSpec((None, *values.shape[1:]), values.dtype), batches[0])
    dataset = tf.data.Dataset.from_generator(minibatches, output_signature=first)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(batches))).prefetch(1)


def free_on_gpu() -> int:
    """Return the free bytes of the GPU that JAX trains on; 0 without one, and on TensorFlow, which reads on the CPU."""
    if name() != "jax":
        return 0
    import jax

    if jax.default_backend() == "cpu":
        return 0
    stats = jax.local_devices()[0].memory_stats() or {}
    return int(stats.get("bytes_limit", 0)) - int(stats.get("bytes_in_use", 0))


def to_device(arrays: Iterable[NDArray[Any]]) -> Any:
    """Return the concatenated arrays on the device that JAX trains on."""
    import jax

    return jax.numpy.concatenate([jax.device_put(array) for array in arrays])


def gradient(function: Callable[[Any], Any], values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the derivative of the sum of `function(values)` by `values`, of their shape; Keras has no gradient of its own."""
    if name() == "tensorflow":
        import tensorflow as tf

        tensor = tf.convert_to_tensor(values)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            total = tf.reduce_sum(function(tensor))
        return np.asarray(tape.gradient(total, tensor))
    import jax

    return np.asarray(jax.grad(lambda tensor: function(tensor).sum())(values))


def allow_half_precision() -> None:
    """Let oneDNN use all instructions of the processor, unless the user set a limit: with AVX2 it has none for 16 bits.

    It reads the limit when it computes its first convolution, so that a process that has computed one keeps its limit.
    """
    if os.environ.get(INSTRUCTIONS) == variables.DEFAULT[INSTRUCTIONS]:
        del os.environ[INSTRUCTIONS]


@contextlib.contextmanager
def precision(policy: str) -> Iterator[None]:
    """Give new layers the precision `policy`: float32, mixed_bfloat16 or mixed_float16."""
    if policy != "float32":
        allow_half_precision()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
