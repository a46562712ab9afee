"""One training of the tuner, in a process of its own."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from xtcav_ml.config.train import TrainParams


def train_trial(
    send: Callable[[tuple[int, dict[str, float]]], bool], params: TrainParams, data: Path, checkpoints: Path
) -> None:
    """Train on `data`/train.h5 and validation.h5 until the end, or until `send` returns False.

    It sends the number, from 1, and the values of each epoch, also of those that were done before it resumes from the folder
    `checkpoints`. Raises UserError as `fit.fit`, and if a file is missing.
    """
    from xtcav_ml.data.prepared import PreparedFile
    from xtcav_ml.learning import backend, fit
    from xtcav_ml.learning.checkpoint import Checkpoints

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
        contextlib.suppress(fit.StopTraining),
    ):
        fit.fit(train, validation, params, [Sender()], Checkpoints(checkpoints, identity))
