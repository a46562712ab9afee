import optuna
import pytest
from optuna.trial import TrialState

from xtcav_ml.config.tune import Choices, Range, TuneParams
from xtcav_ml.tuning import studies

TUNE = TuneParams(
    study="s",
    seed=1,
    trials=4,
    minutes=1.0,
    epochs=2,
    startup_trials=2,
    warmup_epochs=1,
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


def finish(study, count, start=0):
    """Run `count` trials whose value is a function of their parameters."""
    for _ in range(count):
        trial = studies.ask(study, TUNE)
        study.tell(trial, trial.params["train.rate"] * trial.params["train.kernel"])


def test_same_conditions_same_study_and_others_another(path):
    one = studies.open_study(TUNE, {"data": "a"}, path)
    finish(one, 1)
    assert len(studies.open_study(TUNE, {"data": "a"}, path).trials) == 1
    assert studies.open_study(TUNE, {"data": "b"}, path).trials == []
    for change in ({"epochs": 3}, {"seed": 2}, {"space": {"train.rate": Range(low=0.1, high=1.0)}}):
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
    assert studies.enqueue_if_inside(study, TUNE, {**BASE, **changes}) is inside
    assert studies.spent(study) == 0
    if inside:
        assert studies.ask(study, TUNE).params == {name: BASE[name] for name in TUNE.space}


def test_a_lost_trial_does_not_count_and_waits_again_but_not_for_ever(path):
    study = studies.open_study(TUNE, {}, path)
    first = studies.ask(study, TUNE)
    assert studies.spent(study) == 1
    for _ in range(studies.RETRIES):  # the tuner is killed each time
        studies.queue_lost_again(study)
        assert studies.spent(study) == 0
        assert studies.ask(study, TUNE).params == first.params
    studies.queue_lost_again(study)
    assert not study.get_trials(states=(TrialState.WAITING,))


@pytest.mark.parametrize(("note", "counts"), [("interrupted", 0), ("time limit", 0), ("died with exit code -9", 1)])
def test_a_failure_of_its_own_counts(path, note, counts):
    study = studies.open_study(TUNE, {}, path)
    trial = studies.ask(study, TUNE)
    trial.set_user_attr("note", note)
    study.tell(trial, state=TrialState.FAIL)
    assert studies.spent(study) == counts
    studies.queue_lost_again(study)
    assert len(study.get_trials(states=(TrialState.WAITING,))) == 1 - counts
