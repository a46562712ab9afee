"""Suggestions as a function of seed and trials, in spaces with conditions."""

import importlib.util

import pytest
from optuna.trial import TrialState, create_trial

from tests.tuning.test_studies import TUNE
from xtcav_ml.config.tune import Choices, Range
from xtcav_ml.system.errors import UserError
from xtcav_ml.tuning import samplers

SPACE = {
    "train.name": Choices(choices=("sgd", "adam")),
    "train.nesterov": Choices(choices=(True, False), when={"train.name": "sgd"}),
    "train.rate": Range(low=0.01, high=1.0, log=True),
}


def searched(tune, count):
    """Return trials that wait or were pruned, whose value grows with the rate."""
    trials = []
    for number in range(count):
        found = samplers.suggest(trials, tune)
        value = found.params["train.rate"]
        state = TrialState.PRUNED if number % 2 else TrialState.RUNNING
        trials.append(
            create_trial(
                state=state,
                params=found.params,
                distributions=found.distributions,
                system_attrs=found.system_attrs,
                intermediate_values={1: value},
            )
        )
    return trials


@pytest.mark.parametrize("name", ["tpe", "random", "qmc"])
def test_each_sampler_repeats_itself_and_draws_what_is_tried_alone(name):
    tune = TUNE.model_copy(update={"sampler": name, "space": SPACE, "startup_trials": 4})
    trials = searched(tune, 10)
    assert [trial.params for trial in searched(tune, 10)] == [trial.params for trial in trials]
    assert len({trial.params["train.rate"] for trial in trials}) == 10
    for trial in trials:
        assert ("train.nesterov" in trial.params) == (trial.params["train.name"] == "sgd")
    assert {len(trial.params) for trial in trials} == {2, 3}


def test_a_quasi_random_search_spreads_evenly():
    tune = TUNE.model_copy(update={"sampler": "qmc", "space": {"train.rate": Range(low=0.0, high=1.0)}})
    eighths = {int(8 * samplers.suggest(searched_none, tune).params["train.rate"]) for searched_none in points(8)}
    assert len(eighths) == 8


def points(count):
    """Return lists of 0, 1, ... trials."""
    return [[create_trial(state=TrialState.PRUNED)] * number for number in range(count)]


def test_what_cannot_be_trained_is_not_suggested_again():
    tune = TUNE.model_copy(update={"space": {"train.kernel": Range(low=1, high=100)}, "startup_trials": 5})
    law = {"train.kernel": samplers.distribution(tune.space["train.kernel"])}

    def tried(kernel):
        large = kernel > 20
        return create_trial(
            state=TrialState.PRUNED if large else TrialState.COMPLETE,
            value=None if large else 0.5,
            params={"train.kernel": kernel},
            distributions=law,
            constraints={"fits": 1.0} if large else {},
        )

    before = [tried(kernel) for kernel in (5, 90, 10, 60, 15, 75, 20, 50, 30, 40, 80, 95, 35, 65, 55, 12, 8, 18)]
    found = [
        samplers.suggest(before, tune.model_copy(update={"seed": seed})).params["train.kernel"] for seed in range(20)
    ]
    assert sum(kernel <= 25 for kernel in found) >= 15


def test_cma_es_needs_its_package_and_ranges(monkeypatch):
    tune = TUNE.model_copy(update={"sampler": "cmaes"})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package cmaes.* Fix: "):
        samplers.require_usable(tune)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(UserError, match=r"tune\.space\.train\.kernel: not for CMA-ES"):
        samplers.require_usable(tune)
