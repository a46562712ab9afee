"""One training of the tuner, in a process of its own."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.train import TrainParams
from xtcav_ml.learning.layer_plan import CLASS_HEAD, NUMBER_HEAD
from xtcav_ml.lineage import environment
from xtcav_ml.system import variables

if TYPE_CHECKING:
    from xtcav_ml.data.prepared import PreparedFile


IMPORTED = ("fit", "backend", "batches", "checkpoint")
"""Modules of `learning` that a trial needs, and all libraries with them: seconds of a processor, more than many an epoch."""


def imported() -> tuple[str, ...]:
    """Return the modules that a trial's process has from its start: none with a GPU or JAX, which were not tried so."""
    usable = environment.backend() == "tensorflow" and not variables.has_gpu()
    return tuple(f"xtcav_ml.learning.{name}" for name in IMPORTED) if usable else ()


def train_trial(
    send: Callable[[tuple[int, dict[str, float]]], bool], params: TrainParams, data: Path, checkpoints: Path
) -> list[float] | None:
    """Train on `data`/train.h5 and validation.h5 until the end, or until `send` returns False.

    It sends the number, from 1, and the values of each epoch, also of those that were done before it resumes from the folder
    `checkpoints`. At the end it returns what the kept network scores on each validation shot (N,), more is better: whether it
    is right, or minus its error in standard deviations of the numbers. Raises UserError as `fit.fit`, and if a file is missing.
    """
    from xtcav_ml.data.prepared import PreparedFile
    from xtcav_ml.learning import backend, fit
    from xtcav_ml.learning.batches import predict_all
    from xtcav_ml.learning.checkpoint import Checkpoints
    from xtcav_ml.system.one_writer import writing

    class Sender:
        def on_step(self, step: int, steps: int) -> None:
            pass

        def on_resume(self, epochs: int, remarks: Sequence[str]) -> None:
            pass

        def on_epoch(self, epoch: int, values: dict[str, float], seconds: Mapping[str, float]) -> None:
            if not send((epoch, values)):
                raise fit.StopTraining

    device = backend.configure(params.seed, params.threads)
    identity = {"params": params.model_dump_json(), "device": device}  # the folder is that of the study
    with (
        PreparedFile(data / "train.h5") as train,
        PreparedFile(data / "validation.h5") as validation,
        writing(checkpoints / "training"),  # where a cluster has lost the sight of a worker, this one may still train
        contextlib.suppress(fit.StopTraining),
    ):
        fitted = fit.fit(train, validation, params, [Sender()], Checkpoints(checkpoints, identity))
        return shot_scores(predict_all(fitted.model, validation), validation)
    return None


def shot_scores(outputs: Mapping[str, NDArray[np.float32]], validation: "PreparedFile") -> list[float]:
    """Return what `outputs` (N, ...) score on each shot (N,), as above; a number that a shot does not have counts as right."""
    if validation.classes:
        return [float(right) for right in outputs[CLASS_HEAD].argmax(axis=1) == validation.labels]
    errors = np.abs(outputs[NUMBER_HEAD] - validation.targets) / np.nanstd(validation.targets, axis=0)
    return [float(score) for score in -np.nan_to_num(errors).mean(axis=1).astype(np.float64)]
