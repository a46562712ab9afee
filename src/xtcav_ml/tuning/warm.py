"""Warm start: every second start-up trial of a study follows those of earlier studies, on other data or of other code.

Only the order of an earlier study's trials is borrowed, since scores on other data are no measure here (R. Bardenet et al.,
ICML 2013, rank them for the same reason). Borrowed trials are noted with the study before its first trial, are none of its
trials, and count for nothing else: once the start-up is over, the sampler models the study's own trials alone. The others of
the start-up stay random, in case that other parameters are better now.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna import Study
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import ValidationError

from xtcav_ml.config import space
from xtcav_ml.config.base import tuples
from xtcav_ml.config.train import TrainParams
from xtcav_ml.config.tune import ACCURACY, TuneParams
from xtcav_ml.system.errors import UserError
from xtcav_ml.tuning import rungs, samplers

BASE, OBJECTIVES = (
    "base",
    "objectives",
)  # user attributes of a study: section train around its trials' values, and names
BORROWED = "borrowed"  # of a study: trials of earlier ones; of a trial: those that it follows, in words
MOST = 200  # trials that are borrowed, of the latest studies

Borrowed = Mapping[str, Any]
"""A trial of an earlier study: its `study`, number (`trial`), values in the present space (`params`), and `ranks`.

A rank, for each objective, is the share of its study's trials that are not better: 1 is that of the best one.
"""


def begin(study: Study, tune: TuneParams, base: TrainParams) -> list[Borrowed]:
    """Return what a study borrows from the others in the same storage; before its first trial this is found and noted."""
    if not study.get_trials(deepcopy=False):
        study.set_user_attr(BASE, base.model_dump(mode="json"))
        study.set_user_attr(OBJECTIVES, list(tune.objectives))
        study.set_user_attr(BORROWED, _found(study, tune) if tune.warm_start and tune.sampler == "tpe" else [])
    return list(study.user_attrs.get(BORROWED, []))


def follows(borrowed: Sequence[Borrowed], tune: TuneParams, number: int) -> bool:
    """Return whether trial `number` of a study follows the borrowed ones: half of the start-up trials do."""
    return bool(borrowed) and number < tune.startup_trials and number % 2 == 1


def suggest(borrowed: Sequence[Borrowed], tune: TuneParams, before: Sequence[FrozenTrial]) -> FrozenTrial:
    """Return a trial with the best borrowed parameters or, if one `before` had these, with others that TPE finds."""
    best = max(borrowed, key=lambda one: one["ranks"][0])
    laws = {name: samplers.distribution(tune.space[name]) for name in best["params"]}
    found = create_trial(state=TrialState.RUNNING, params=best["params"], distributions=laws)
    if any(trial.params == found.params for trial in before):
        modelled = tune.model_copy(update={"startup_trials": 0})
        found = samplers.suggest([_trial(one, tune) for one in borrowed], modelled, len(before))
    found.user_attrs[BORROWED] = in_words(borrowed)
    return found


def in_words(borrowed: Sequence[Borrowed]) -> str:
    """Return how many trials of which studies are borrowed."""
    return f"{len(borrowed)} trials of {', '.join(dict.fromkeys(one['study'] for one in borrowed))}"


def tags(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Return the tag in MLflow that names what a study has borrowed, or what a trial follows, by their user attributes."""
    said = attributes.get(BORROWED)
    return {BORROWED: said if isinstance(said, str) else in_words(said)} if said else {}


def _found(study: Study, tune: TuneParams) -> list[Borrowed]:
    """Return trials of the other studies that fit the present space, those of the latest study first."""
    storage = study._storage
    others = [one for one in storage.get_all_studies() if one.study_name != study.study_name]
    found: list[Borrowed] = []
    for other in sorted(others, key=lambda one: one._study_id, reverse=True):
        found += _fitting(optuna.load_study(study_name=other.study_name, storage=storage), tune)
    return found[:MOST]


def _fitting(other: Study, tune: TuneParams) -> Iterator[Borrowed]:
    """Yield the trials of another study that were trained at all and whose parameters lie in the present space."""
    known = other.user_attrs.get(OBJECTIVES, [ACCURACY])
    try:
        base = TrainParams.model_validate(tuples(other.user_attrs[BASE]))
    except (KeyError, ValidationError):  # of before there was a warm start, or of other parameters
        return
    if not set(tune.objectives) <= set(known):
        return
    ranks = _ranks(other, tune, known)
    for number, its in sorted(ranks.items()):
        try:
            values = space.values_of(space.applied(base, other.trials[number].params), tune.space)
        except UserError:
            continue
        if values and space.inside(tune.space, values):
            yield {"study": other.study_name, "trial": number, "params": values, "ranks": its}


def _ranks(other: Study, tune: TuneParams, known: Sequence[str]) -> dict[int, list[float]]:
    """Return the ranks of another study's trials by number, one for each objective."""
    trials = rungs.ranked(rungs.searched(other.get_trials(deepcopy=False)))
    orders = [{one.number: place for place, one in enumerate(trials)}]
    for name in tune.objectives[1:]:
        trials = [one for one in trials if one.values]
        by_cost = sorted(trials, key=lambda one: (one.values[known.index(name)], one.number))
        orders.append({one.number: place for place, one in enumerate(by_cost)})
    return {one.number: [1 - order[one.number] / len(order) for order in orders] for one in trials}


def _trial(one: Borrowed, tune: TuneParams) -> FrozenTrial:
    """Return a borrowed trial as one of the present study whose values are its ranks."""
    laws = {name: samplers.distribution(tune.space[name]) for name in one["params"]}
    values = [one["ranks"][0], *(-rank for rank in one["ranks"][1:])]
    return create_trial(values=values, params=one["params"], distributions=laws)
