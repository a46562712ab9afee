"""train: train.h5 and validation.h5 -> a network, and its history as lines of JSON, each on disk before the next epoch."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from xtcav_ml.config.train import TrainParams
from xtcav_ml.data.history import line_of
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import backend, calibrate, fit, keras_file, layer_plan
from xtcav_ml.learning.checkpoint import Checkpoints
from xtcav_ml.science import epochs
from xtcav_ml.science.warning_signs import warning_signs
from xtcav_ml.system.progress import clock, console, counting

COLUMNS = {"loss": "loss", "accuracy": "accuracy", "squared_error": "sq. error"}
"""Values of an epoch that are shown, if it has them, and their headings."""

WIDE, NARROW = 10, 9  # characters of a column: of these values, of the others
PARTS = ("train", "validation", "checkpoint")  # of an epoch's time, one after the other


def train_network(
    params: TrainParams,
    data: Path,
    model_path: Path,
    history_path: Path,
    listeners: Sequence[fit.Listener] = (),
    identity: Mapping[str, str] | None = None,
) -> fit.Fitted:
    """Train on `data`/train.h5, keep the epoch that is best on `data`/validation.h5, write the network and the history.

    The network that is written is calibrated on `data`/validation.h5. With `identity` (all that the result depends on, by name;
    the device is added here) it keeps its state beside the model, and resumes from there if it was stopped, or had ended, and
    the identity is the same. Raises UserError if a file is missing, the network does not fit the frames, or the loss is not
    finite.
    """
    screen = console()
    device = backend.configure(params.seed, params.threads)
    together = f", {params.processes} processes" if params.processes > 1 else ""
    with PreparedFile(data / "train.h5") as train, PreparedFile(data / "validation.h5") as validation:
        layers = layer_plan.plan_layers(params.model, layer_plan.Ends.of(train.spec))
        screen.print(
            f"train: {train.shots:,} shots of {train.spec.size}, "
            f"{layer_plan.parameter_count(layers):,} parameters, {params.epochs} epochs in minibatches "
            f"of {params.batch_size}, {device}{together}"
        )
        history_path.parent.mkdir(parents=True, exist_ok=True)
        history_path.unlink(missing_ok=True)  # it may be DVC's link into its cache: writing through would empty that
        steps = params.epochs * (train.shots // params.batch_size)
        checkpoints = None if identity is None else Checkpoints.beside(model_path, identity, device)
        with history_path.open("w", encoding="utf-8") as history, counting("steps", steps) as advance:
            log = _Log(history, advance, train.classes, params.epochs)
            fitted = fit.fit(train, validation, params, [log, *listeners], checkpoints)
        said = calibrate.calibrate(fitted.model, validation, params.coverage)
        keras_file.save(fitted.model, replace(train.spec, statements=said), model_path)
    if checkpoints is not None:
        checkpoints.end(model_path)
    lowest = epochs.described(fitted.history[0])
    screen.print(f"  kept epoch {fitted.best_epoch} of {params.epochs}, that of the lowest {lowest} -> {model_path}")
    if said.temperature is not None:
        screen.print(f"  probabilities at a temperature of {said.temperature:g}, fitted to the validation set")
    return fitted


class _Log:
    """Prints a live bar of steps and a row an epoch, and writes the epoch as a line of JSON that survives any end."""

    def __init__(self, history: TextIO, advance: Callable[[int], None], classes: Sequence[str], epochs: int) -> None:
        self.history, self.advance, self.classes, self.epochs = history, advance, classes, epochs
        self.screen, self.times = console(), list[float]()

    def on_step(self, step: int, steps: int) -> None:
        self.advance(1)

    def on_resume(self, epochs: int, remarks: Sequence[str]) -> None:
        for remark in remarks:
            self.screen.print(f"  {remark}")
        if epochs:
            self.screen.print(f"  resumes after epoch {epochs}")

    def on_epoch(self, epoch: int, values: dict[str, float], seconds: Mapping[str, float]) -> None:
        try:
            self.history.write(line_of(epoch, values))
            self.history.flush()
            os.fsync(self.history.fileno())
        except OSError as error:
            error.filename = self.history.name  # a write does not say to which file
            raise
        if seconds:
            self.times.append(sum(seconds[part] for part in PARTS))
        self._print(epoch, values)
        for warning in warning_signs(values, self.classes):
            self.screen.print(f"  warning, epoch {epoch}: {warning}")

    def _print(self, epoch: int, values: Mapping[str, float]) -> None:
        """Print a row of as many columns as the terminal is wide; before the first one the headings."""
        shown = [name for name in COLUMNS if f"val_{name}" in values]
        trained, validated = (
            "".join(f"{values[f'{of}_{name}']:>{WIDE}.4f}" for name in shown) for of in ("train", "val")
        )
        passed, later = sum(self.times), self.times[1:]  # the first has the start in it
        left = clock(sum(later) / len(later) * (self.epochs - epoch)) if later else "-"
        more = {
            "rate": f"{values['learning_rate']:.5f}",
            "passed": clock(passed) if self.times else "-",
            "left": left,
            "gradient": f"{values.get('gradient_norm', 0):.2g}",
        }
        room = self.screen.width - len(f"  epoch{trained}  {validated}")
        more = dict(list(more.items())[: room // NARROW])
        if epoch == 1:
            names, half = "".join(f"{COLUMNS[name]:>{WIDE}}" for name in shown), len(trained)
            self.screen.print(f"       {'training':>{half}}  {'validation':>{half}}")
            self.screen.print(f"  epoch{names}  {names}" + "".join(f"{name:>{NARROW}}" for name in more))
        self.screen.print(
            f"  {epoch:>5}{trained}  {validated}" + "".join(f"{text:>{NARROW}}" for text in more.values())
        )
