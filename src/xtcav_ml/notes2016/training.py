"""experiment NAME: train the network of an experiment of the notes, with the same steps -> its results."""

import shutil
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from xtcav_ml.config.train import TrainParams
from xtcav_ml.data.history import read_history
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import fit, layer_plan
from xtcav_ml.learning.checkpoint import Checkpoints
from xtcav_ml.lineage import lineage
from xtcav_ml.notes2016 import experiments
from xtcav_ml.pipeline import train
from xtcav_ml.science import metrics
from xtcav_ml.system import atomic


class Steps:
    """A listener of `fit` that times steps: from the end of one to that of the next, within an epoch.

    It ends the training after `most` steps of an epoch.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        self.between: list[float] = []
        self.epochs: list[float] = []
        self._last = 0.0

    def on_step(self, step: int, steps: int) -> None:
        """Note the time."""
        now = time.monotonic()
        if step > 1:
            self.between.append(now - self._last)
        self._last = now
        if step == self.most:
            raise fit.StopTraining

    def on_resume(self, epochs: int, remarks: Sequence[str]) -> None:
        """Earlier epochs were not timed."""

    def on_epoch(self, epoch: int, values: dict[str, float], seconds: Mapping[str, float]) -> None:
        """Keep the seconds of an epoch of one step, except the first, which builds the network."""
        if "train" in seconds and epoch > 1:
            self.epochs.append(seconds["train"])

    @property
    def seconds(self) -> float | None:
        """Return the median seconds of a step, or None if no step after the first was seen."""
        seconds = self.between or self.epochs
        return median(seconds) if seconds else None


def train_experiment(
    name: str,
    params: TrainParams,
    listeners: Sequence[fit.Listener] = (),
    identity: Mapping[str, str] | None = None,
    seed: int | None = None,
) -> float | None:
    """Train experiment `name`, write network, history and results; return the seconds of a step, None if unknown.

    With `seed`, which `params` then has, it is a member of the experiment's group of seeds, in files of its own.

    Raises UserError as `train.train_network`, and if the data are missing.
    """
    data = experiments.data_files(name)
    out, steps = experiments.trained_folder(name, seed), Steps()
    history = out / "history.jsonl"
    train.train_network(params, data[0].parent, out / "model.keras", history, [steps, *listeners], identity)
    with PreparedFile(data[0]) as learned, PreparedFile(data[1]) as validation:
        result = outcome(
            read_history(history), learned.shots // params.batch_size, np.bincount(validation.labels).tolist()
        )
        layers = layer_plan.plan_layers(params.model, layer_plan.Ends.of(learned.spec))
        result |= {"parameters": layer_plan.parameter_count(layers), "train_shots": learned.shots}
    atomic.write_json(experiments.result_file(name, seed), result | {"batch_size": params.batch_size})
    return steps.seconds


def take_over(name: str, seed: int, identity: Mapping[str, str], device: str) -> bool:
    """Copy the experiment's own network to be the member with `seed`, if it is of this very training; return whether it is."""
    trained, copied = experiments.trained_folder(name), experiments.trained_folder(name, seed)
    model = trained / "model.keras"
    if not model.is_file() or Checkpoints.beside(model, identity, device).ended() != lineage.file_md5(model):
        return False
    pairs = {trained / file: copied / file for file in ("model.keras", "history.jsonl")}
    for source, copy in (pairs | {experiments.result_file(name): experiments.result_file(name, seed)}).items():
        with atomic.replacing(copy) as temporary:
            shutil.copyfile(source, temporary)
    return True


def outcome(history: Sequence[Mapping[str, float]], epoch_steps: int, classes: Sequence[int]) -> dict[str, Any]:
    """Return the results of a training of `epoch_steps` minibatches an epoch on validation shots, `classes` of each class.

    `accuracy` is that after the last step, as in the notes, with its 95 % interval: the best epoch's would be selected on the
    shots that it is measured on. `perfect_step` is the first after which no validation shot was wrong, or None.
    `sd_above_guessing` is the notes' measure: by how many standard deviations the hits exceed guessing the largest class; None
    if there is no other.
    """
    accuracies = [row["val_accuracy"] for row in history]
    shots, chance = sum(classes), max(classes) / sum(classes)
    hits = round(accuracies[-1] * shots)
    low, high = metrics.wilson_interval(hits, shots)
    perfect = [epoch for epoch, value in enumerate(accuracies, start=1) if round(value * shots) == shots]
    return {
        "accuracy": hits / shots,
        "accuracy_low": low,
        "accuracy_high": high,
        "sd_above_guessing": float((hits - shots * chance) / np.sqrt(shots * chance * (1 - chance)))
        if chance < 1
        else None,
        "validation_shots": shots,
        "train_accuracy": history[-1]["train_accuracy"],
        "best_accuracy": max(accuracies),
        "best_step": epoch_steps * (accuracies.index(max(accuracies)) + 1),
        "perfect_step": epoch_steps * perfect[0] if perfect else None,
        "steps": epoch_steps * len(history),
    }
