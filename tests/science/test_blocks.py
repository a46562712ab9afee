"""The interval of an accuracy by blocks of time: of independent shots Wilson's, of alike neighbours wide enough."""

import numpy as np
import pytest

from xtcav_ml.science import blocks, metrics


def walk(rng, shots, persistence):
    """Answers of which each repeats the one before with this chance."""
    fresh = rng.random(shots) < 0.8
    again = rng.random(shots) < persistence
    again[0] = False
    return fresh[np.maximum.accumulate(np.where(again, 0, np.arange(shots)))]


def interval(right):
    return blocks.blocked_interval(right, blocks.of_time(np.arange(len(right))))


def test_blocks_are_of_neighbours_in_time_whatever_the_order_of_the_shots():
    run, index = np.repeat([70, 71], 50), np.tile(np.arange(50), 2)
    shuffled = np.random.default_rng(1).permutation(100)
    found = blocks.of_time(run[shuffled], index[shuffled])
    assert found[np.argsort(shuffled)].tolist() == np.repeat(np.arange(10), 10).tolist()
    assert blocks.of_time(np.arange(3)).tolist() == [0, 0, 0]
    assert blocks.of_time(np.empty(0)).tolist() == []


def test_alternating_answers_are_as_good_as_independent_ones():
    right = np.arange(900) % 2 == 0
    found = interval(right)
    assert (found.blocks, found.design_effect) == (30, 1)
    low, high = metrics.wilson_interval(450, 900)
    assert found.low == pytest.approx(low, abs=0.002)  # Student's t of 29 instead of 1.96
    assert found.high == pytest.approx(high, abs=0.002)
    assert found.low < low < high < found.high


def test_answers_that_come_in_blocks_count_as_blocks():
    right = np.repeat(np.arange(30) % 5 > 0, 30)  # 24 of 30 blocks
    found = interval(right)
    assert found.design_effect == pytest.approx(30 * 30 / 29)
    low, high = metrics.wilson_interval(24, 30)
    assert found.low < low + 0.01
    assert found.high > high - 0.01


@pytest.mark.parametrize("shots", [0, 1, 3])
def test_too_few_shots_for_blocks_say_nothing(shots):
    found = interval(np.ones(shots, bool))
    assert (found.low, found.high, found.design_effect) == (0, 1, 1)


def test_answers_that_are_all_right_have_an_interval():
    found = interval(np.ones(400, bool))
    assert found.high == 1
    assert metrics.wilson_interval(400, 400)[0] - 0.005 < found.low < 1


@pytest.mark.parametrize("persistence", [0.0, 0.8])
def test_it_holds_the_true_accuracy_as_often_as_it_says_and_that_of_shots_does_not(persistence):
    held, wilson = [], []
    for seed in range(120):
        right = walk(np.random.default_rng(seed), 1600, persistence)
        found, (low, high) = interval(right), metrics.wilson_interval(int(right.sum()), len(right))
        held.append(found.low <= 0.8 <= found.high)
        wilson.append(low <= 0.8 <= high)
    assert np.mean(held) > 0.88
    assert (np.mean(wilson) > 0.88) == (persistence == 0)
