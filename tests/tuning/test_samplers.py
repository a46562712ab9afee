"""Suggestions as a function of seed and trials, in spaces with conditions."""

import importlib.util
import math
import statistics

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


RANGES = {"train.rate": Range(low=0.01, high=1.0, log=True), "train.window": Range(low=2, high=60)}


def from_best(trial):
    """Return how far a trial is from the best parameters, rate 0.05 and window 40, with a minus."""
    return -abs(math.log(trial.params["train.rate"] / 0.05)) - abs(trial.params["train.window"] - 40) / 20


def scored(tune, count, *costs):
    """Return trials that are completed with the value of `from_best` and these costs, each a function of the trial."""
    trials = []
    for _ in range(count):
        found = samplers.suggest(trials, tune)
        values = [from_best(found), *(cost(found) for cost in costs)]
        options = {"distributions": found.distributions, "system_attrs": found.system_attrs}
        trials.append(create_trial(values=values, params=found.params, **options))
    return trials


def test_cma_es_breeds_its_generations_in_a_space_of_ranges_and_repeats_itself():
    pytest.importorskip("cmaes")
    tune = TUNE.model_copy(update={"sampler": "cmaes", "space": RANGES, "startup_trials": 4})
    trials = scored(tune, 34)
    assert [trial.params for trial in scored(tune, 34)] == [trial.params for trial in trials]
    generations = [trial.system_attrs.get("cma:generation") for trial in trials]
    assert generations[:4] == [None] * 4
    assert generations[4:] == [number // 6 for number in range(30)]  # a population of 4 + 3 ln 2
    first, last = ([from_best(one) for one in trials[part]] for part in (slice(4, 10), slice(-6, None)))
    assert statistics.median(last) > statistics.median(first)
    assert all(isinstance(trial.params["train.window"], int) for trial in trials)


def test_cma_es_goes_on_with_trials_that_wait_at_rungs():
    pytest.importorskip("cmaes")
    tune = TUNE.model_copy(update={"sampler": "cmaes", "space": RANGES, "startup_trials": 4})
    trials = searched(tune, 20)
    assert max(trial.system_attrs.get("cma:generation", 0) for trial in trials) == 2


def test_nsga2_breeds_from_the_front_and_repeats_itself():
    tune = TUNE.model_copy(
        update={"sampler": "nsga2", "space": RANGES, "startup_trials": 8, "objectives": ("accuracy", "memory")}
    )
    trials = scored(tune, 40, lambda trial: trial.params["train.window"])
    again = scored(tune, 40, lambda trial: trial.params["train.window"])
    assert [trial.params for trial in trials] == [trial.params for trial in again]
    generations = [trial.system_attrs["NSGAIISampler:generation"] for trial in trials]
    assert generations == [number // 8 for number in range(40)]
    parents = {trial.params["train.rate"] for trial in trials[:8]}
    assert any(trial.params["train.rate"] in parents for trial in trials[8:16])


def test_tpe_takes_several_objectives_and_trials_that_still_run():
    tune = TUNE.model_copy(update={"space": SPACE, "startup_trials": 4, "objectives": ("accuracy", "memory")})
    laws = {name: samplers.distribution(values) for name, values in RANGES.items() if name == "train.rate"}
    ended = [
        create_trial(
            values=[-rate, rate],
            params={"train.rate": rate, "train.name": "adam"},
            distributions={**laws, "train.name": samplers.distribution(SPACE["train.name"])},
        )
        for rate in (0.02, 0.1, 0.3, 0.5, 0.9)
    ]
    running = create_trial(
        state=TrialState.RUNNING,
        params=ended[0].params,
        distributions=ended[0].distributions,
        intermediate_values={1: 0.5},
    )
    found = samplers.suggest([*ended, running], tune)
    assert found.params == samplers.suggest([*ended, running], tune).params
    assert ("train.nesterov" in found.params) == (found.params["train.name"] == "sgd")


@pytest.mark.parametrize(
    ("space", "reason"),
    [
        ({**RANGES, "train.kernel": Choices(choices=(3, 5))}, r"tune\.space\.train\.kernel: not for CMA-ES.* Fix: "),
        ({"train.rate": RANGES["train.rate"]}, r"tune\.space: too small for CMA-ES.*train\.rate alone.* Fix: "),
        (
            {"train.name": Range(low=1, high=2), "train.window": Range(low=1, high=3, when={"train.name": 2})},
            r"not for CMA-ES \(found choices or a condition.* Fix: ",
        ),
    ],
)
def test_cma_es_refuses_other_spaces_with_the_cure(monkeypatch, space, reason):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(UserError, match=reason):
        samplers.require_usable(TUNE.model_copy(update={"sampler": "cmaes", "space": space}))


def test_cma_es_needs_its_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package cmaes.* Fix: "):
        samplers.require_usable(TUNE.model_copy(update={"sampler": "cmaes", "space": RANGES}))
