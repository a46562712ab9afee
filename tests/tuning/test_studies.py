import optuna
import pytest

from xtcav_ml.config import space
from xtcav_ml.config.tune import Choices, Range, TuneParams
from xtcav_ml.tuning import samplers, studies

TUNE = TuneParams(
    study="s",
    seed=1,
    trials=4,
    minutes=1.0,
    epochs=2,
    rungs=0,
    startup_trials=2,
    memory_gb=1.0,
    space={
        "train.rate": Range(low=0.01, high=1.0, log=True),
        "train.kernel": Choices(choices=(3, 5)),
        "train.window": Range(low=2, high=10, step=4),
    },
)
BASE = {"train.rate": 0.1, "train.kernel": 3, "train.window": 6, "train.other": 1}


@pytest.fixture
def path(tmp_path):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return tmp_path / "study.db"


def finish(study, count):
    """Run `count` trials whose value is a function of their parameters."""
    for _ in range(count):
        trial = studies.next_trial(study, TUNE, BASE)
        study.tell(trial, trial.params["train.rate"] * trial.params["train.kernel"])


def test_same_conditions_same_study_and_others_another(path):
    one = studies.open_study(TUNE, {"data": "a"}, path)
    finish(one, 1)
    assert len(studies.open_study(TUNE, {"data": "a"}, path).trials) == 1
    assert studies.open_study(TUNE, {"data": "b"}, path).trials == []
    for change in (
        {"epochs": 3},
        {"seed": 2},
        {"startup_trials": 3},
        {"space": {"train.rate": Range(low=0.1, high=1.0)}},
    ):
        assert studies.open_study(TUNE.model_copy(update=change), {"data": "a"}, path).trials == []
    assert len(studies.open_study(TUNE.model_copy(update={"trials": 9}), {"data": "a"}, path).trials) == 1


def test_an_interrupted_search_suggests_what_an_uninterrupted_one_does(tmp_path):
    whole = studies.open_study(TUNE, {}, tmp_path / "a.db")
    finish(whole, 8)
    for _ in range(8):  # a new process each
        finish(studies.open_study(TUNE, {}, tmp_path / "b.db"), 1)
    parts = studies.open_study(TUNE, {}, tmp_path / "b.db")
    assert [trial.params for trial in parts.trials] == [trial.params for trial in whole.trials]


@pytest.mark.parametrize(
    ("changes", "inside"),
    [
        ({}, True),
        ({"train.rate": None}, False),
        ({"train.rate": 2.0}, False),
        ({"train.window": 4}, False),
        ({"train.kernel": 4}, False),
    ],
)
def test_the_baseline_is_the_first_trial_if_it_lies_in_the_space(path, changes, inside):
    study = studies.open_study(TUNE, {}, path)
    assert space.inside(TUNE.space, {name: (BASE | changes)[name] for name in TUNE.space}) is inside
    first = studies.next_trial(study, TUNE, BASE | changes)
    assert (first.params == {name: BASE[name] for name in TUNE.space}) is inside


def test_a_trial_that_was_interrupted_is_the_next_one_and_counts_once(path):
    study = studies.open_study(TUNE, {}, path)
    finish(study, 3)
    first = studies.next_trial(study, TUNE, BASE)
    first.report(0.5, 1)
    again = studies.next_trial(studies.open_study(TUNE, {}, path), TUNE, BASE)
    assert (again.number, again.params, again.user_attrs) == (first.number, first.params, first.user_attrs)
    assert study.trials[again.number].intermediate_values == {1: 0.5}
    assert len(studies.ended(study)) == 3


def test_a_suggestion_is_a_function_of_the_seed_and_the_trials_before(path):
    study = studies.open_study(TUNE, {}, path)
    finish(study, 6)
    turned = TUNE.model_copy(update={"space": dict(reversed(TUNE.space.items()))})
    found = samplers.suggest(study.trials, TUNE).params
    assert found == samplers.suggest(study.trials, turned).params
    assert found != samplers.suggest(study.trials[:5], TUNE).params
    assert found != samplers.suggest(study.trials, TUNE.model_copy(update={"seed": 2})).params
