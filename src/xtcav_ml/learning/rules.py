"""Rules for the parameters and the data of a training: validate, check, fit and the tuner apply the same ones.

They need no Keras, which takes seconds to import. A rule of `fit` alone would fail a stage after DVC removed its outputs.
"""

import importlib
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xtcav_ml.config.train import Augment, TrainParams
from xtcav_ml.learning import layer_plan
from xtcav_ml.learning.layer_plan import Ends
from xtcav_ml.lineage import environment
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system import variables
from xtcav_ml.system.child_process import ChildProcess
from xtcav_ml.system.errors import UserError

BACKENDS = ("tensorflow", "jax")  # Keras' backends with a gradient and a way to feed frames in this package

NUMBA_FILE = Path(".numba_config.yaml")

CURES = {"train.batch_size": "lower it", "tune.memory_gb": "raise it"}
"""Parameters that may be to blame for too little memory, and their cures."""


def require_backend() -> None:
    """Raise UserError if the backend that KERAS_BACKEND names is unknown or missing."""
    name = environment.backend()
    if name not in BACKENDS:
        raise UserError(
            f"KERAS_BACKEND: unknown backend (found {name!r}, expected {' or '.join(BACKENDS)}). Fix: set it to one of them"
        )
    if importlib.util.find_spec(name) is None:
        raise UserError(
            f"KERAS_BACKEND: not installed (found {name!r}, expected an installed backend). Fix: install {name}, or unset the "
            "variable"
        )


def require_environment() -> None:
    """Raise UserError if a configuration file of numba would decide results, or if no network runs with what counts."""
    if NUMBA_FILE.exists():
        raise UserError(
            f"{NUMBA_FILE}: settings of numba that no result names (found the file, expected none). Fix: remove it, and set "
            "its values as NUMBA_ variables"
        )
    if names := ", ".join(variables.counted()):
        for _ in ChildProcess(
            _run_network, subject=f"{names}: nothing runs with the value", cure="unset or correct it"
        ):
            pass


def _run_network(send: Callable[[Any], bool]) -> None:
    backend = importlib.import_module(
        "xtcav_ml.learning.backend"
    )  # not as code of `validate`, which it would make rerun
    backend.configure(seed=0, threads=1)
    backend.keras.ops.matmul([[1.0]], [[1.0]])


def require_trainable(train: TrainParams, spec: LearningSpec, shots: int | None = None) -> None:
    """Raise UserError if `train` cannot train on frames of `spec`, or on this number of training `shots`, if given.

    After this only a loss that is not finite can fail a training.
    """
    require_data(train, spec, shots)
    require_network(train, Ends.of(spec), memory())


def require_data(train: TrainParams, spec: LearningSpec, shots: int | None = None) -> None:
    """Raise UserError if augmentation, class weights or minibatches do not fit the data, or processes the backend."""
    require_processes(train.processes)
    require_augmentable(train.augment, spec)
    if train.class_weights and not spec.classes:
        raise UserError(
            "train.class_weights: no classes are learned (found true, expected false where prepare.label is null). Fix: set "
            "it to false"
        )
    if shots is not None and shots < train.batch_size:
        raise UserError(
            f"train.batch_size: larger than the training set (found {train.batch_size}, expected at most {shots}). Fix: lower "
            "it, add shots, or raise prepare.balance.ratio"
        )


def require_augmentable(augment: Augment, spec: LearningSpec) -> None:
    """Raise UserError if frames of `spec` are too small for the shifts of `augment`, or undo its gains."""
    if not spec.has_frames and (augment.varies_frames or augment.noise):
        raise UserError(
            "train.augment: no frames to vary (found a shift, gain or noise, expected 0 as data.frame_shape is null). Fix: set "
            "them to 0"
        )
    for axis, (shift, side) in enumerate(zip(augment.shift, spec.preprocessing.shape, strict=True)):
        if shift >= side and spec.has_frames:
            raise UserError(
                f"train.augment.shift.{axis}: larger than a prepared frame (found {shift}, expected less than {side}). Fix: "
                "lower it"
            )
    if augment.gain and "contrast" in [step.step for step in spec.preprocessing.steps]:
        raise UserError(
            f"train.augment.gain: a contrast step in prepare.images undoes every gain (found {augment.gain:g}, expected 0). "
            "Fix: set it to 0, or remove the contrast step"
        )


def require_processes(processes: int) -> None:
    """Raise UserError if this many processes cannot train together with the backend and the GPUs of this machine."""
    if processes == 1:
        return
    if environment.backend() != "jax":
        raise UserError(
            f"train.processes: only JAX trains in several processes (found {processes} with {environment.backend()}, expected "
            "1). Fix: set it to 1, or set KERAS_BACKEND=jax"
        )
    gpus = len(variables.visible_gpus())
    if variables.has_gpu() and processes > gpus:
        raise UserError(
            f"train.processes: more than this machine has GPUs (found {processes}, expected at most {gpus}). Fix: lower it"
        )


def require_one_process(processes: int) -> None:
    """Raise UserError if several processes are to train together where trials do, or a measurement."""
    if processes > 1:
        raise UserError(
            f"train.processes: trials of a search, and measurements, train in one process (found {processes}, expected 1). "
            "Fix: set it to 1; `xtcav tune --workers` trains several trials at a time"
        )


def require_network(train: TrainParams, ends: Ends, limit: float, key: str = "train.batch_size") -> None:
    """Raise UserError if there is no backend, no such network between `ends`, or its training step exceeds `limit` bytes.

    `key` is the parameter to blame for the limit.
    """
    needed = planned_memory(train, ends)
    if needed > limit:
        raise UserError(
            f"{key}: a training step of {train.batch_size} shots takes too much memory (found about "
            f"{needed / 1e9:.1f} GB, expected at most {limit / 1e9:.1f}). Fix: {CURES[key]}, or make the network smaller"
        )


def require_trial(train: TrainParams, spec: LearningSpec, shots: int, memory_gb: float) -> None:
    """Raise UserError if the tuner cannot try `train` on this number of training `shots` within tune.memory_gb."""
    require_data(train, spec, shots)
    require_network(train, Ends.of(spec), 1e9 * memory_gb, "tune.memory_gb")


def planned_memory(train: TrainParams, ends: Ends) -> int:
    """Estimate the bytes of a training step on this machine. Raises UserError without a backend or such a network."""
    require_backend()
    layers = layer_plan.plan_layers(train.model, ends)
    if environment.backend() == "tensorflow" and not variables.has_gpu():
        layers = layer_plan.fused(layers, train.precision)
    return layer_plan.step_memory(layers, train.batch_size)


def memory() -> float:
    """Return the bytes that this process may use: the smaller one of the machine's and its control group's.

    Infinity with an NVIDIA GPU: a step then uses the GPU's memory, whose size only the libraries know.
    """
    if variables.has_gpu():
        return float("inf")
    group = Path("/sys/fs/cgroup/memory.max")
    limit = group.read_text().strip() if group.is_file() else "max"
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(machine, int(limit)) if limit.isdigit() else machine
