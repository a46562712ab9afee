"""seeds: the same training with each seed of a group -> its networks, their predictions as one table, and mean and spread."""

import contextlib
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.base import read_tree
from xtcav_ml.config.paths import GROUP, GROUP_PREDICTIONS, HISTORY, MODEL, SEEDS, SETTINGS
from xtcav_ml.config.train import TrainParams
from xtcav_ml.data.history import read_history
from xtcav_ml.data.predictions import PREDICTED, PROBABILITY, SEED
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import backend
from xtcav_ml.learning.layer_plan import CLASS_HEAD, NUMBER_HEAD
from xtcav_ml.lineage import lineage, recorded
from xtcav_ml.pipeline import evaluate, sheets, train
from xtcav_ml.science import ceiling, epochs, metric_names, metrics, two_level
from xtcav_ml.science.blocks import of_time
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console


def member_files(seed: int) -> tuple[Path, Path]:
    """Return the network and the history of the group's member with this seed."""
    folder = SEEDS / "trained" / str(seed)
    return folder / MODEL.name, folder / HISTORY.name


def write_settings(out: Path = SETTINGS) -> None:
    """Write what all members have in common: section train of params.yaml but for its seed, and the hash of all."""
    common = {name: value for name, value in read_tree()["train"].items() if name != "seed"}
    group = lineage.of_stage("train").group
    atomic.write_json(out, {"group": group, "train": common})
    console().print(f"seeds: group {group} of all members -> {out}")


def train_member(params: TrainParams, data: Path) -> None:
    """Train with `params.seed` on `data`, or take over the network of the train stage, if that was trained with this seed.

    Raises UserError as `train.train_network`.
    """
    origin = lineage.of_stage("train").with_seed(params.seed)
    model, history = member_files(params.seed)
    if _of_stage(origin.key):
        for source, copy in ((MODEL, model), (HISTORY, history)):
            with atomic.replacing(copy) as temporary:
                shutil.copyfile(source, temporary)
        console().print(f"seeds: seed {params.seed} is that of {MODEL}, which is taken over")
    else:
        train.train_network(params, data, model, history, identity=origin.without_coverage.identity)


def _of_stage(key: str) -> bool:
    """Return whether the outputs of the train stage are there and have this `lineage.key`."""
    made = recorded.of_folder(Path())
    if made is None or made.key != key:
        return False
    with contextlib.suppress(UserError):
        lineage.require_outputs([MODEL, HISTORY])
        return True
    return False


def evaluate_group(threads: int, seeds: Sequence[int], data: Path, group: str) -> None:
    """Evaluate the networks of a group on `data`/test.h5; write their results with mean and spread, and their predictions.

    `group` is the hash of all that decides them but the seed. Raises UserError if a network is missing or of other data.
    """
    backend.configure(seed=0, threads=threads)
    members: dict[str, dict[str, Any]] = {}
    tables: list[dict[str, Iterable[object]]] = []
    scores: dict[str, list[NDArray[Any]]] = {}  # of each seed what its network scores on each shot
    with PreparedFile(data / "test.h5") as test:
        for seed in seeds:
            model, history = member_files(seed)
            _require(model, history)
            *_, outputs = evaluate.predict_test(model, test)
            members[str(seed)] = _results(test, outputs, read_history(history))
            tables.append(evaluate.prediction_columns(test, outputs))
            for name, each in _scores(test, outputs).items():
                scores.setdefault(name, []).append(each)
        blocks, shots = of_time(test.column("run"), test.column("run.index")), test.shots
    means = {name: _spread(np.array(each), blocks) for name, each in scores.items()}
    atomic.write_json(GROUP, {"group": group, "shots": shots, "seeds": members, "mean": means})
    evaluate.write_columns(GROUP_PREDICTIONS, _joined(seeds, tables))
    for name, found in means.items():
        console().print(f"seeds: {name} of {len(seeds)} seeds {found['mean']:.3g}, s.d. {found['sd']:.2g} -> {GROUP}")


def _require(*paths: Path) -> None:
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: missing (expected a member of the group of seeds). Fix: run `make seeds`")


def _results(test: PreparedFile, outputs: sheets.Outputs, history: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return the results of one network by the names of evaluation.json."""
    values: dict[str, Any] = {"best_epoch": epochs.best(history)}
    if test.classes:
        measured = vars(metrics.classification(test.labels, outputs[CLASS_HEAD]))
        values |= {name: measured[name] for name in (*metric_names.HEADLINE, "balanced_accuracy")}
        if test.redrawn is not None:
            predicted = outputs[CLASS_HEAD].argmax(axis=1)
            values["expected_accuracy"] = ceiling.expected_accuracy(test.redrawn, predicted).value
        values["best_val_accuracy"] = history[values["best_epoch"] - 1]["val_accuracy"]
    if test.spec.regression:
        values["regression"] = {
            name: {"rms_error": metrics.regression(test.targets[:, i], outputs[NUMBER_HEAD][:, i]).rms_error}
            for i, name in enumerate(test.spec.regression)
        }
    return values


def _scores(test: PreparedFile, outputs: sheets.Outputs) -> dict[str, NDArray[Any]]:
    """Return whether each shot (N,) is right, and its errors, NaN where it has no number."""
    scores: dict[str, NDArray[Any]] = {}
    if test.classes:
        scores["accuracy"] = outputs[CLASS_HEAD].argmax(axis=1) == test.labels
    for i, name in enumerate(test.spec.regression):
        scores[f"mean absolute error of {name}"] = np.abs(outputs[NUMBER_HEAD][:, i] - test.targets[:, i])
    return {name: each for name, each in scores.items() if np.isfinite(each).any()}


def _spread(scores: NDArray[Any], blocks: NDArray[np.int64]) -> dict[str, float]:
    measured = np.isfinite(scores[0])
    found = two_level.spread(scores[:, measured], blocks[measured])
    return {"mean": found.mean, "sd": found.sd, "low": found.low, "high": found.high}


def _joined(seeds: Sequence[int], tables: Sequence[dict[str, Iterable[object]]]) -> dict[str, Iterable[object]]:
    """Return the columns of a group: those that all members share, and of each its predictions; not its probabilities."""
    joined = {name: column for name, column in tables[0].items() if not name.startswith((PREDICTED, PROBABILITY))}
    for seed, table in zip(seeds, tables, strict=True):
        joined |= {SEED.format(seed) + name: column for name, column in table.items() if name.startswith(PREDICTED)}
    return joined
