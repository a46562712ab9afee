"""Optuna studies that survive an interrupted or killed tuner.

A study is named by all that decides its values: a later call resumes it, and a call with other data, code or parameters
starts its own. Trials that ended because their tuner or its time did do not count and are tried again.
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

INTERRUPTED, TIME_LIMIT = "interrupted", "time limit"
LOST = (None, INTERRUPTED, TIME_LIMIT)
"""Notes of trials that failed whatever their parameters; a killed tuner leaves none."""

RETRIES = 2  # how often a lost trial is tried again: its parameters may be the ones that kill the tuner


def open_study(tune: TuneParams, decides: Mapping[str, Any], path: Path) -> Study:
    """Return the study in the SQLite file `path` for this search space and `decides`; create it on first use."""
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
    """Make `values` (dotted names) the next trial if they lie in the search space; return whether they do."""
    inside = all(_contains(dimension, values[name]) for name, dimension in tune.space.items())
    if inside:
        study.enqueue_trial({name: values[name] for name in tune.space})
    return inside


def ask(study: Study, tune: TuneParams) -> Trial:
    """Begin the next trial: one that waits, or else a suggestion.

    Optuna does not store its sampler's random state. The number of trials begun seeds it, so that an interrupted search
    suggests the same trials as an uninterrupted one.
    """
    seed = hashlib.blake2b(repr((tune.seed, len(begun(study)))).encode(), digest_size=4).digest()
    study.sampler = optuna.samplers.TPESampler(seed=int.from_bytes(seed, "big"), n_startup_trials=tune.startup_trials)
    return study.ask({name: distribution(values) for name, values in tune.space.items()})


def distribution(values: Range | Choices) -> BaseDistribution:
    """Return Optuna's distribution of a dimension of the search space."""
    if isinstance(values, Choices):
        return CategoricalDistribution(values.choices)
    if isinstance(values.low, int) and isinstance(values.high, int):
        return IntDistribution(values.low, values.high, log=values.log, step=values.step or 1)
    return FloatDistribution(float(values.low), float(values.high), log=values.log)


def begun(study: Study) -> list[FrozenTrial]:
    """Return the trials that run or have ended."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]


def lost(trial: FrozenTrial) -> bool:
    """Return whether a trial failed for no reason of its own."""
    return trial.state == TrialState.FAIL and trial.user_attrs.get("note") in LOST


def spent(study: Study) -> int:
    """Return the number of trials that count against the budget: begun and not lost."""
    return sum(not lost(trial) for trial in begun(study))


def queue_lost_again(study: Study) -> None:
    """End the trials that a killed tuner left running, and queue all lost trials again, at most RETRIES times each.

    No other tuner may work on the study.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    trials = study.get_trials(deepcopy=False)
    queued = {trial.user_attrs.get("retry_of") for trial in trials}
    for trial in trials:
        retries = trial.user_attrs.get("retries", 0)
        if lost(trial) and trial.number not in queued and retries < RETRIES:
            study.enqueue_trial(trial.params, {"retry_of": trial.number, "retries": retries + 1})


def _contains(values: Range | Choices, value: Any) -> bool:
    if isinstance(values, Choices):
        return value in values.choices
    if value is None or not values.low <= value <= values.high:  # None: the parameter is off
        return False
    return values.step is None or bool((value - values.low) % values.step == 0)
