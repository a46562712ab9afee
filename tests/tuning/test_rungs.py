"""Successive halving on trials of known values."""

import optuna
import pytest
from optuna.trial import TrialState

from xtcav_ml.tuning import rungs


def trials(*values, state="RUNNING"):
    """Return trials that have reported these values, a list of one an epoch."""
    study = optuna.create_study(direction="maximize")
    for each in values:
        steps = dict(enumerate(each, start=1))
        study.add_trial(optuna.trial.create_trial(state=TrialState[state], value=0.0, intermediate_values=steps))
    return study.trials


@pytest.mark.parametrize(
    ("epochs", "count", "expected"),
    [(40, 3, (2, 5, 14)), (27, 3, (1, 3, 9)), (27, 0, ()), (2, 5, (1,)), (1, 3, ())],
)
def test_each_rung_is_a_third_of_the_next(epochs, count, expected):
    assert rungs.stops(epochs, count) == expected


def test_none_goes_on_before_three_have_stopped_and_then_the_best():
    assert rungs.to_continue(trials([0.1], [0.3]), (1, 3)) is None
    assert rungs.to_continue(trials([0.1], [0.3], [0.2]), (1, 3)).number == 1


def test_one_that_was_not_good_enough_goes_on_once_enough_others_are_worse():
    waiting = trials([0.3], [0.4, 0.4, 0.4], [0.1], [0.2], [0.0])
    assert rungs.to_continue(waiting, (1, 3)) is None
    waiting = trials([0.3], [0.4, 0.4, 0.4], [0.1], [0.2], [0.0], [0.05])
    assert rungs.to_continue(waiting, (1, 3)).number == 0


def test_one_between_two_rungs_goes_first_then_the_highest_rung():
    long, short = [0.5, 0.5, 0.5], [0.1]
    six = [long, long, [0.9, 0.9, 0.9], *3 * [short]]
    assert rungs.to_continue(trials(*six, [0.0, 0.0]), (1, 3)).number == 6
    assert rungs.to_continue(trials(*six, []), (1, 3)).number == 6
    assert rungs.to_continue(trials(*six), (1, 3)).number == 2


def test_of_equal_ones_the_first_goes_on_and_one_that_ended_stays():
    assert rungs.promoted(trials([0.1], [0.1], [0.1]), (1,)).number == 0
    assert rungs.promoted(trials([0.1], [0.1], [0.1], state="PRUNED"), (1,)) is None


def test_the_leader_has_the_most_epochs_and_of_these_the_best_score():
    assert rungs.leader(trials([0.9], [0.1, 0.2], [0.3, 0.3], [])).number == 2
    assert rungs.leader(trials([0.9], state="PRUNED")) is None


def test_a_trial_that_waits_is_told_its_place():
    waiting = trials([0.1], [0.3], [0.2])
    assert (
        rungs.why_stopped(waiting, waiting[2]) == "not among the best third after epoch 1: number 2 of 3 trials there"
    )
