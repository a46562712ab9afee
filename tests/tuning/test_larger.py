"""A search that was finished and is then made larger goes on as one that was as large from its beginning."""

import itertools
import json
from collections import Counter

import pytest
from optuna.trial import TrialState

from tests.tuning.conftest import Known, interrupted_reports, run_until_done
from xtcav_ml.tuning import loop, rungs, studies


class Crossing(Known):
    """A trial of nine epochs: the higher its momentum, the worse it begins and the better it ends."""

    def __iter__(self):
        momentum = self.params.optimizer.momentum
        for number in range(1, 10):
            yield number, {"val_cross_entropy": 2 + momentum * (6 - 2 * number), "val_accuracy": 0.1 * number}
            if self.stop:
                return


@pytest.fixture
def larger(search, monkeypatch):
    """Return a function that runs a search to its end for each of these numbers of trials, one after the other."""
    monkeypatch.setattr(loop, "ChildProcess", Crossing)
    names = itertools.count()

    def run(*trials, sampler="tpe", seeds=()):
        rules = {"epochs": 9, "rungs": 2, "best": 2, "sampler": sampler, "startup_trials": 3, "trials": trials[-1]}
        search.tune, search.seeds = search.tune.model_copy(update=rules), seeds
        search.study = studies.open_study(search.tune, {"name": next(names)}, search.out / "larger.db")
        for count in trials:
            search.tune = search.tune.model_copy(update={"trials": count})
            search.run_trials()
            assert not [trial for trial in search.study.trials if trial.state == TrialState.RUNNING]
        return search

    return run


def stood(search):
    """Return how far each trial has come by the rules of the rungs."""
    return [
        (one.params, one.state, one.intermediate_values)
        for one in rungs.reopened(search.study.get_trials(deepcopy=False))
    ]


def test_trials_and_promotions_are_those_of_one_larger_search(larger):
    whole = stood(larger(9))
    assert {len(values) for _, _, values in whole} >= {1, 3}, "no trial has been promoted, or all"
    parts = larger(4, 9)
    assert stood(parts) == whole
    assert any(rungs.CONTINUES in trial.user_attrs for trial in parts.study.trials)
    assert len(rungs.searched(parts.study.trials)) == 9


@pytest.mark.thorough
def test_what_ended_with_the_smaller_search_still_counts_and_nothing_twice(larger):
    alone = max(one.values[0] for one in studies.ended(larger(13).study) if one.values)
    parts = larger(5, 13, seeds=(2, 3))
    best = json.loads((parts.out / "best.json").read_text())
    ended = {one.number: one for one in studies.ended(parts.study)}
    assert ended[best["trial"]].state == TrialState.COMPLETE
    assert max(one.values[0] for one in ended.values() if one.values) >= alone
    repeated = [one.user_attrs for one in parts.study.trials if rungs.REPEATS in one.user_attrs]
    assert set(Counter((one[rungs.REPEATS], one[rungs.SEED]) for one in repeated).values()) == {1}
    count = len(parts.study.trials)
    parts.run_trials()
    assert len(parts.study.trials) == count, "a search that has ended is begun again"


@pytest.mark.thorough
def test_a_larger_search_that_is_interrupted_is_the_one_that_was_not(larger):
    whole = stood(larger(10))
    search = larger(1)
    with interrupted_reports(every=7):
        for trials in (5, 10):
            search.tune = search.tune.model_copy(update={"trials": trials})
            run_until_done(search)
    assert stood(search) == whole
    assert not [trial for trial in search.study.trials if trial.state == TrialState.RUNNING]
