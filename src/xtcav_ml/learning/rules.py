"""What a training needs of its parameters and its data: validate, check, fit and the tuner apply the same rules.

Without Keras, which takes seconds to import. A rule that only `fit` knew would end a stage after DVC removed its outputs.
"""

import importlib.util
import os
from pathlib import Path

from xtcav_ml.config.train import Augment, TrainParams
from xtcav_ml.learning import layer_plan
from xtcav_ml.learning.layer_plan import Ends
from xtcav_ml.science.spec import Meaning
from xtcav_ml.system.errors import UserError

BACKENDS = ("tensorflow", "jax")
"""Keras' backends that this package has a gradient and a way to feed frames for."""


def backend_name() -> str:
    """Return the backend that KERAS_BACKEND names, TensorFlow by default. Raises UserError if it cannot be used here."""
    name = os.environ.get("KERAS_BACKEND") or BACKENDS[0]
    if name not in BACKENDS:
        raise UserError(
            f"KERAS_BACKEND: unknown backend (found {name!r}, expected {' or '.join(BACKENDS)}). Fix: set it to one of them."
        )
    if importlib.util.find_spec(name) is None:
        raise UserError(
            f"KERAS_BACKEND: {name} is not installed (expected an installed backend). Fix: install {name}, or unset it."
        )
    return name


def require_trainable(train: TrainParams, meaning: Meaning, shots: int | None = None) -> None:
    """Raise UserError if `train` cannot train on frames of `meaning`, or on that many training `shots`, where they are known.

    All that can be known before the first minibatch: what is left is a loss that does not stay finite.
    """
    backend_name()
    require_data(train, meaning, shots)
    require_network(train, Ends.of(meaning), memory())


def require_data(train: TrainParams, meaning: Meaning, shots: int | None = None) -> None:
    """Raise UserError if what `train` does with frames and labels cannot be done with those of `meaning`."""
    require_augmentable(train.augment, meaning)
    if train.class_weights and not meaning.classes:
        raise UserError(
            "train.class_weights: there are no classes to weigh (found true, expected false where prepare.label is null). "
            "Fix: set it to false."
        )
    if shots is not None and shots < train.batch_size:
        raise UserError(
            f"train.batch_size: a minibatch needs more than all training shots (found {train.batch_size}, expected at most "
            f"{shots}). Fix: lower it, add shots, or raise prepare.balance.ratio."
        )


def require_augmentable(augment: Augment, meaning: Meaning) -> None:
    """Raise UserError if a frame of `meaning` cannot be moved as far as `augment` says, or shows no gain."""
    shape = meaning.preprocessing.shape
    for axis, (most, side) in enumerate(zip(augment.shift, shape, strict=True)):
        if most >= side:
            raise UserError(
                f"train.augment.shift.{axis}: a frame cannot move by its own side (found {most}, expected less than {side}: "
                f"prepared frames have {shape[0]} x {shape[1]} pixels). Fix: lower it."
            )
    if augment.gain and "contrast" in [step.step for step in meaning.preprocessing.steps]:
        raise UserError(
            f"train.augment.gain: a contrast step in prepare.images undoes every gain (found {augment.gain:g}, expected 0). "
            "Fix: set it to 0, or remove the contrast step."
        )


def require_network(train: TrainParams, ends: Ends, most: float) -> None:
    """Raise UserError if the network cannot be built between `ends`, or its training step needs more than `most` bytes."""
    layers = layer_plan.plan(train.model, ends)
    if backend_name() == "tensorflow" and not _has_gpu():
        layers = layer_plan.fused(layers, train.precision)
    needed = layer_plan.step_memory(layers, train.batch_size)
    if needed > most:
        raise UserError(
            f"train.batch_size: a training step of {train.batch_size} shots takes too much memory (found about "
            f"{needed / 1e9:.1f} GB, expected at most {most / 1e9:.1f}). Fix: lower it, or make the network smaller."
        )


def memory() -> float:
    """Return the bytes that this process may take: the machine's, or its control group's if they are less.

    Infinity where there is a GPU of NVIDIA's: a step then takes its memory, and only the libraries know how much that is.
    """
    if _has_gpu():
        return float("inf")
    group = Path("/sys/fs/cgroup/memory.max")
    limit = group.read_text().strip() if group.is_file() else "max"
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(machine, int(limit)) if limit.isdigit() else machine


def _has_gpu() -> bool:
    return any(Path("/dev").glob("nvidia[0-9]*"))
