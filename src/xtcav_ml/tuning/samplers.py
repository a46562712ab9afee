"""Parameters for the next trial, as a function of the study's seed and of the trials before it alone.

Optuna stores neither the state of its sampler nor a suggestion in one step. So the sampler is a new one for every trial, seeded
by the study's seed and the trial's number, and works in memory. What it must remember, as CMA-ES does, stays with the trial.
"""

import hashlib
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from xtcav_ml.config import space
from xtcav_ml.config.tune import Choices, Range, TuneParams
from xtcav_ml.system.errors import UserError
from xtcav_ml.tuning import objectives


def suggest(before: Sequence[FrozenTrial], tune: TuneParams, number: int | None = None) -> FrozenTrial:
    """Return a trial with the parameters that are tried after `before`, and what the sampler remembers. Nothing else counts.

    It is trial `number` of the study, if `before` are not its own. A trial that waits at a rung is one that was pruned there,
    for the sampler. Raises UserError if it cannot be used.
    """
    require_usable(tune)
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        sampler = SAMPLERS[tune.sampler](tune, len(before) if number is None else number)
        study = optuna.create_study(directions=objectives.directions(tune.objectives), sampler=sampler)
    if tune.sampler == "qmc":
        return _quasi_random(study, tune, len(before))
    study.add_trials([_ended(trial, tune) for trial in before])
    trial, values = study.ask(), dict[str, Any]()
    for name in space.in_order(tune.space):
        if space.is_tried(tune.space, name, values):
            values[name] = _suggest(trial, name, tune.space[name])
    return study.trials[-1]


def require_usable(tune: TuneParams) -> None:
    """Raise UserError if the sampler is not installed, or does not take this space."""
    if tune.sampler != "cmaes":
        return
    if importlib.util.find_spec("cmaes") is None:
        raise UserError(
            "tune.sampler: not installed (found cmaes, which needs the package cmaes, expected an installed one). Fix: "
            "`pip install cmaes`, or set it to tpe"
        )
    if len(tune.space) == 1:
        raise UserError(
            f"tune.space: too small for CMA-ES (found {', '.join(tune.space)} alone, expected at least two parameters). "
            "Fix: set tune.sampler to tpe, or add a parameter"
        )
    for name, values in tune.space.items():
        if isinstance(values, Choices) or space.conditional(tune.space):
            raise UserError(
                f"tune.space.{name}: not for CMA-ES (found choices or a condition, expected a range of numbers that is always "
                "tried). Fix: set tune.sampler to tpe, or make it a range"
            )


def distribution(values: Range | Choices) -> BaseDistribution:
    """Return Optuna's distribution of a dimension of the search space."""
    if isinstance(values, Choices):
        return CategoricalDistribution(values.choices)
    if isinstance(values.low, int) and isinstance(values.high, int):
        return IntDistribution(values.low, values.high, log=values.log, step=values.step or 1)
    return FloatDistribution(float(values.low), float(values.high), log=values.log)


def _seed(tune: TuneParams, number: int) -> int:
    return int.from_bytes(hashlib.blake2b(repr((tune.seed, number)).encode(), digest_size=4).digest(), "big")


def _tpe(tune: TuneParams, number: int) -> BaseSampler:
    grouped = space.conditional(tune.space)
    multivariate = True if grouped else None  # Optuna's default else, by the number of objectives
    return TPESampler(
        seed=_seed(tune, number), n_startup_trials=tune.startup_trials, multivariate=multivariate, group=grouped
    )


def _cmaes(tune: TuneParams, number: int) -> BaseSampler:
    startup = max(tune.startup_trials, 1)
    return CmaEsSampler(seed=_seed(tune, number), n_startup_trials=startup, warn_independent_sampling=False)


def _nsga2(tune: TuneParams, number: int) -> BaseSampler:
    return NSGAIISampler(seed=_seed(tune, number), population_size=max(tune.startup_trials, 2))


SAMPLERS: dict[str, Callable[[TuneParams, int], BaseSampler]] = {
    "tpe": _tpe,
    "random": lambda tune, number: RandomSampler(seed=_seed(tune, number)),
    "qmc": lambda tune, _: QMCSampler(seed=tune.seed, scramble=True),
    "cmaes": _cmaes,
    "nsga2": _nsga2,
}
"""Samplers by the name of `tune.sampler`, for a study and the number of a trial."""


def _quasi_random(study: optuna.Study, tune: TuneParams, number: int) -> FrozenTrial:
    """Return the point `number` of a sequence in all parameters of the space, without those that are not tried there.

    `study` is empty.
    """
    whole = {name: distribution(tune.space[name]) for name in space.in_order(tune.space)}
    first = {name: tune.space[name].ends[0] for name in whole}
    study.add_trial(create_trial(state=TrialState.PRUNED, params=first, distributions=whole))
    for _ in range(number):
        study.ask(whole)
    drawn, tried = study.ask(whole).params, dict[str, Any]()
    for name in whole:
        if space.is_tried(tune.space, name, tried):
            tried[name] = drawn[name]
    return create_trial(state=TrialState.RUNNING, params=tried, distributions={name: whole[name] for name in tried})


def _suggest(trial: optuna.Trial, name: str, values: Range | Choices) -> Any:
    if isinstance(values, Choices):
        return trial.suggest_categorical(name, values.choices)
    if isinstance(values.low, int) and isinstance(values.high, int):
        return trial.suggest_int(name, values.low, values.high, log=values.log, step=values.step or 1)
    return trial.suggest_float(name, values.low, values.high, log=values.log)


def _ended(trial: FrozenTrial, tune: TuneParams) -> FrozenTrial:
    """Return a trial as it is, or as one that was pruned where it waits; for CMA-ES as one that was completed there.

    Optuna's CMA-ES knows no space before the first completed trial, and of several objectives it ranks no pruned ones.
    """
    stopped = trial.state == TrialState.PRUNED and trial.intermediate_values and tune.sampler == "cmaes"
    if trial.state.is_finished() and not stopped:
        return trial
    seen = copy(trial)
    seen.state, seen.datetime_complete = TrialState.PRUNED, trial.datetime_complete or trial.datetime_start
    if len(tune.objectives) > 1:
        seen.intermediate_values = {}
    elif tune.sampler == "cmaes" and seen.intermediate_values:
        seen.state, seen.value = TrialState.COMPLETE, max(seen.intermediate_values.items())[1]
    return seen
