"""tune: Optuna over params.yaml's search space on the prepared training and validation sets; never on the test set.

Each trial trains in a process of its own with `train.seed`, so that the best one is best by its parameters, and `dvc repro`
reaches its score. Every trial is a run in MLflow, a child of the study's. A trial leaves the study only when it has ended by
itself: one that was interrupted goes on from its last epoch, so that the search is the one without an interruption.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from optuna import Study
from optuna.exceptions import ExperimentalWarning

from xtcav_ml.config import space
from xtcav_ml.config.base import overridden
from xtcav_ml.config.paths import SEARCH
from xtcav_ml.config.train import TrainParams
from xtcav_ml.config.tune import TuneParams
from xtcav_ml.data import search_file
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import rules
from xtcav_ml.lineage import lineage, project
from xtcav_ml.lineage.environment import deciding
from xtcav_ml.system.progress import console, labelled
from xtcav_ml.tracking.tracker import Tracker
from xtcav_ml.tuning import (
    outcome,
    rungs,
    samplers,
    storage,
    studies,
    summary,
    tables,
    warm,
)
from xtcav_ml.tuning.loop import Search


def run_search(
    train: TrainParams,
    tune: TuneParams,
    data: Path,
    out: Path,
    seeds: Sequence[int] = (),
    search: "Callable[..., Search] | None" = None,
) -> None:
    """Resume the study until it has `tune.trials` trials or `tune.minutes` are over; write its results to `out`.

    Once it has them, the best ones and params.yaml are trained with `seeds`, too. `search` makes another Search, of the same
    arguments.

    No other tuner may be at work. Raises UserError if prepared data are missing, the sampler cannot be used, or no trial could
    be completed.
    """
    samplers.require_usable(tune)
    base = overridden(train, "train", {"train.epochs": tune.epochs})
    out.mkdir(parents=True, exist_ok=True)
    screen = console()
    with (
        studies.usable(out / "study.db"),
        PreparedFile(data / "train.h5") as prepared,
        PreparedFile(data / "validation.h5"),
    ):
        rules.require_trainable(base, prepared.spec, prepared.shots)
        rules.require_one_process(base.processes)
        study = studies.open_study(tune, decides(base), out / "study.db")
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            study.set_metric_names(outcome.metric_names(prepared.spec, tune))  # for Optuna's dashboard
        screen.print(_announced(study, tune))
        with storage.alone(storage.place(out / "study.db"), out / "study.db", study.study_name):
            if borrowed := warm.begin(study, tune, base):
                screen.print(tables.borrowed_table(borrowed))
            with Tracker(project.find_root(), identity=study.study_name) as tracker:
                written = (search or Search)(study, base, tune, prepared, tracker, out, seeds).run_trials()
    if len(tune.objectives) > 1:
        screen.print(tables.front_table(studies.front(study), tune.objectives))
    summary.print_summary(search_file.read(out / SEARCH.name), out)
    screen.print(labelled("Written", f"{out}/ " + ", ".join(path.name for path in written), screen.width))


def _announced(study: Study, tune: TuneParams) -> str:
    """Return what is searched, and how far it is, before the search starts."""
    at = rungs.stops(tune.epochs, tune.rungs)
    done = sum(trial.state.is_finished() or rungs.waits(trial, at) for trial in rungs.searched(study.trials))
    halving = f"stops after {', '.join(map(str, at))}: the best third of each goes on" if at else "none is stopped"
    return (
        f"tune: study {study.study_name}, {done} of {tune.trials} trials done, at most {tune.minutes:g} minutes\n"
        f"tune.space: {space.described(tune.space)}; sampler {tune.sampler}; {tune.epochs} epochs, {halving}"
    )


def decides(base: TrainParams) -> dict[str, Any]:
    """Return all that decides the score of a trial but its own parameters: another value is another study."""
    origin = lineage.of_stage("train")
    return {
        "base": base.model_dump(mode="json"),
        "data": origin.data,
        "code": origin.code.fingerprint,
        "environment": deciding([*origin.code.libraries, "optuna"]),
    }
