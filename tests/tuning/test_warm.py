"""Warm start: what a study borrows from earlier ones, and what that changes."""

import statistics

import optuna
import pytest
from optuna.trial import TrialState

from tests.tuning.test_studies import TUNE
from xtcav_ml.config.tune import Choices, Range
from xtcav_ml.tuning import rungs, studies, warm

SPACE = {
    "train.optimizer.learning_rate": Range(low=0.001, high=1.0, log=True),
    "train.optimizer.momentum": Range(low=0.0, high=0.99),
    "train.model.blocks.0.pool": Choices(choices=("max", "average")),
}
WARM = TUNE.model_copy(update={"space": SPACE, "startup_trials": 6})


@pytest.fixture
def begun(tmp_path, params, monkeypatch):
    """Return a function that begins a study of this name, in memory, and runs so many trials of an objective."""
    path, memory = tmp_path / "study.db", optuna.storages.InMemoryStorage()
    path.touch()
    monkeypatch.setattr(studies, "_storage", lambda _: memory)

    def begin(name, count=0, objective=lambda params: 0.0, tune=WARM, base=params.train):
        study = studies.open_study(tune, {"data": name}, path)
        warm.begin(study, tune, base)
        for _ in range(count):
            trial = studies.next_trial(study, tune, {"train.optimizer.momentum": None})
            trial.report(objective(trial.params), 1)
            study.tell(trial, objective(trial.params))
        return study

    return begin


def near(rate, momentum):
    """Return an objective whose best parameters are these."""

    def value(params):
        far = abs(params["train.optimizer.learning_rate"] - rate) / rate + abs(
            params["train.optimizer.momentum"] - momentum
        )
        return -far - (params["train.model.blocks.0.pool"] == "max")

    return value


def test_a_first_study_borrows_nothing_and_a_later_one_the_order_of_its_trials(begun):
    first = begun("a", 5, near(0.01, 0.9))
    assert first.user_attrs[warm.BORROWED] == []
    assert not any(warm.BORROWED in trial.user_attrs for trial in first.trials)
    second = begun("b")
    borrowed = {one["trial"]: one for one in second.user_attrs[warm.BORROWED]}
    assert [borrowed[number]["params"] for number in range(5)] == [trial.params for trial in first.trials]
    assert {one["study"] for one in borrowed.values()} == {first.study_name}
    in_order = sorted(first.trials, key=lambda trial: trial.value)
    assert [borrowed[trial.number]["ranks"][0] for trial in in_order] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    assert second.trials == []


def test_borrowed_trials_are_named_where_they_count_and_are_none_of_the_study_s_own(begun):
    begun("a", 8, near(0.01, 0.9))
    second = begun("b", 8, near(0.01, 0.9))
    named = [trial.number for trial in second.trials if warm.BORROWED in trial.user_attrs]
    assert named == [1, 3, 5]
    assert second.trials[1].user_attrs[warm.BORROWED] == warm.tags(second.user_attrs)[warm.BORROWED]
    assert "8 trials of s-" in warm.tags(second.user_attrs)[warm.BORROWED]
    assert warm.tags(second.trials[0].user_attrs) == {}
    assert len(rungs.searched(second.trials)) == len(second.trials) == 8
    best = max(begun("a").trials, key=lambda trial: trial.value)
    assert second.trials[1].params == best.params


def test_what_was_borrowed_stays_whatever_other_studies_do(begun):
    begun("a", 4, near(0.01, 0.9))
    before = begun("b", 1).user_attrs[warm.BORROWED]
    begun("a", 4, near(0.01, 0.9))
    begun("c", 4, near(0.1, 0.5))
    assert begun("b").user_attrs[warm.BORROWED] == before


def test_an_interrupted_study_borrows_as_the_uninterrupted_one(begun):
    begun("a", 8, near(0.01, 0.9))
    found = []
    for calls in (1, 8):
        for _ in range(calls):
            study = begun("b", 8 // calls, near(0.02, 0.8))
        found.append([trial.params for trial in study.trials])
        optuna.delete_study(study_name=study.study_name, storage=study._storage)
    assert found[0] == found[1]


def test_only_trials_that_fit_the_present_space_are_borrowed(begun, params):
    first = begun("a", 8, near(0.01, 0.9))
    narrow = {**SPACE, "train.optimizer.momentum": Range(low=0.5, high=0.99)}
    inside = {trial.number for trial in first.trials if trial.params["train.optimizer.momentum"] >= 0.5}
    found = begun("b", tune=WARM.model_copy(update={"space": narrow})).user_attrs[warm.BORROWED]
    assert {one["trial"] for one in found} == inside != set()
    wider = {**SPACE, "train.model.blocks.1.kernel": Range(low=2, high=params.train.model.blocks[1].kernel)}
    found = begun("c", tune=WARM.model_copy(update={"space": wider})).user_attrs[warm.BORROWED]
    assert len(found) == 8
    assert {one["params"]["train.model.blocks.1.kernel"] for one in found} == {params.train.model.blocks[1].kernel}
    without = {**SPACE, "train.model.blocks.1.kernel": Range(low=1, high=params.train.model.blocks[1].kernel - 1)}
    assert begun("d", tune=WARM.model_copy(update={"space": without})).user_attrs[warm.BORROWED] == []


@pytest.mark.parametrize("changes", [{"warm_start": False}, {"sampler": "random"}, {"sampler": "qmc"}])
def test_what_models_nothing_or_is_told_not_to_borrows_nothing(begun, changes):
    begun("a", 4, near(0.01, 0.9))
    assert begun("b", tune=WARM.model_copy(update=changes)).user_attrs[warm.BORROWED] == []


def test_trials_that_were_refused_or_failed_are_not_borrowed(begun):
    first = begun("a")
    for state in (TrialState.PRUNED, TrialState.FAIL):
        trial = studies.next_trial(first, WARM, {})
        first.tell(trial, state=state)
    begun("a", 2, near(0.01, 0.9))
    assert [one["trial"] for one in sorted(begun("b").user_attrs[warm.BORROWED], key=lambda one: one["trial"])] == [
        2,
        3,
    ]


def test_on_like_data_a_warm_start_finds_better_trials_in_the_same_number(begun):
    begun("a", 25, near(0.01, 0.9))

    def best(seed, warm_start):
        tune = WARM.model_copy(update={"seed": seed, "warm_start": warm_start})
        found = begun("b", 6, near(0.012, 0.88), tune)
        value = found.best_value
        optuna.delete_study(study_name=found.study_name, storage=found._storage)
        return value

    seeds = range(5)
    warmed, cold = ([best(seed, how) for seed in seeds] for how in (True, False))
    assert statistics.median(warmed) > statistics.median(cold)
