"""Optuna studies that survive what happens to the tuner.

A study is named after all that decides its values, so that a later call goes on with it, and a call with other data, code
or parameters begins its own. Trials that ended because their tuner did, or because the time was over, do not count and
are tried again.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna import Study, Trial
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from xtcav_ml.config.tune import Choices, Range, TuneParams

__all__ = ["FrozenTrial", "Study", "Trial", "TrialState"]
"""Optuna's own, for those who use a study."""

INTERRUPTED, TIME_LIMIT = "interrupted", "time limit"
LOST = (None, INTERRUPTED, TIME_LIMIT)
"""Notes of failed trials which say nothing against their parameters; a killed tuner leaves none."""

RETRIES = 2
"""How often a lost trial is tried again: its parameters may be what kills the tuner."""


def open_study(tune: TuneParams, decides: Mapping[str, Any], path: Path) -> Study:
    """Return the study in the SQLite file `path` for this search space and `decides`, made on first use."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {name: values.model_dump(mode="json") for name, values in tune.space.items()}
    text = json.dumps([decides, space, tune.seed, tune.epochs], sort_keys=True)
    return optuna.create_study(
        study_name=f"{tune.study}-{hashlib.sha256(text.encode()).hexdigest()[:8]}",
        storage=f"sqlite:///{path.resolve()}",
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=tune.startup_trials, n_warmup_steps=tune.warmup_epochs),
    )


def enqueue_if_inside(study: Study, tune: TuneParams, values: Mapping[str, Any]) -> bool:
    """Make `values` (dotted names) the next trial if they lie in the search space; returns whether they do."""
    inside = all(_contains(dimension, values[name]) for name, dimension in tune.space.items())
    if inside:
        study.enqueue_trial({name: values[name] for name in tune.space})
    return inside


def ask(study: Study, tune: TuneParams) -> Trial:
    """Begin the next trial: one that waits, or else a suggestion.

    Optuna does not store its sampler's random state. One seeded by the number of trials begun suggests the same after an
    interruption as without.
    """
    begun = sum(trial.state != TrialState.WAITING for trial in study.get_trials(deepcopy=False))
    seed = hashlib.blake2b(repr((tune.seed, begun)).encode(), digest_size=4).digest()
    study.sampler = optuna.samplers.TPESampler(seed=int.from_bytes(seed, "big"), n_startup_trials=tune.startup_trials)
    return study.ask({name: distribution(values) for name, values in tune.space.items()})


def distribution(values: Range | Choices) -> BaseDistribution:
    """Return a dimension of the search space as Optuna has it."""
    if isinstance(values, Choices):
        return CategoricalDistribution(values.choices)
    if isinstance(values.low, int) and isinstance(values.high, int):
        return IntDistribution(values.low, values.high, log=values.log, step=values.step or 1)
    return FloatDistribution(float(values.low), float(values.high), log=values.log)


def lost(trial: FrozenTrial) -> bool:
    """Return whether a trial failed through nothing of its own."""
    return trial.state == TrialState.FAIL and trial.user_attrs.get("note") in LOST


def spent(study: Study) -> int:
    """Return how many trials count against the budget: all that were begun and not lost."""
    trials = study.get_trials(deepcopy=False)
    return sum(trial.state != TrialState.WAITING and not lost(trial) for trial in trials)


def queue_lost_again(study: Study) -> None:
    """End the trials that a killed tuner left running, and make all lost trials wait again, at most RETRIES times each.

    No other tuner may be at work on the study.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    trials = study.get_trials(deepcopy=False)
    queued = {trial.user_attrs.get("retry_of") for trial in trials}
    for trial in trials:
        retries = trial.user_attrs.get("retries", 0)
        if lost(trial) and trial.number not in queued and retries < RETRIES:
            study.enqueue_trial(trial.params, {"retry_of": trial.number, "retries": retries + 1})


def importances(study: Study) -> dict[str, float]:
    """Return the share of each parameter in the variance of the scores."""
    found: dict[str, float] = optuna.importance.get_param_importances(study)
    return found


def _contains(values: Range | Choices, value: Any) -> bool:
    if isinstance(values, Choices):
        return value in values.choices
    if value is None:  # of a parameter that is off
        return False
    on_grid = values.step is None or (value - values.low) % values.step == 0
    return bool(values.low <= value <= values.high) and on_grid
