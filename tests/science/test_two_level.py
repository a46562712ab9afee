"""Differences of settings that were trained with several seeds, on simulated answers of networks whose truth is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtcav_ml.science import significance, two_level

SEEDS, SHOTS = 5, 600


def answers(rng, difficulty, accuracy_shift=0.0, sd_of_seeds=0.05, seeds=SEEDS):
    """Return which shots (seeds, shots) networks are right on: shots differ in difficulty, seeds in skill, with noise."""
    skill = rng.normal(1.1 + accuracy_shift, sd_of_seeds, (seeds, 1))
    return skill - difficulty + rng.normal(0, 0.5, (seeds, len(difficulty))) > 0


def pairs(count, **second):
    """Yield the differences of groups on the same shots; the second has other settings if anything is said of it."""
    rng = np.random.default_rng(1)
    for _ in range(count):
        difficulty = rng.normal(size=SHOTS)
        yield two_level.difference(answers(rng, difficulty), answers(rng, difficulty, **second))


@pytest.mark.parametrize("sd_of_seeds", [0, 0.05, 0.2])
def test_equal_settings_are_called_better_in_one_of_twenty_or_less(sd_of_seeds):
    rng, better = np.random.default_rng(3), 0
    for _ in range(300):
        difficulty = rng.normal(size=SHOTS)
        groups = [answers(rng, difficulty, sd_of_seeds=sd_of_seeds) for _ in range(2)]
        better += two_level.difference(*groups).p < 0.05
    assert better <= 20  # five of a hundred, give or take


def test_four_points_are_found_by_five_seeds_each_and_the_power_says_so():
    found = list(pairs(300, accuracy_shift=0.19))
    truth = np.mean([one.value for one in found])
    assert truth == pytest.approx(0.04, abs=0.005)
    claimed = np.mean([one.p < 0.05 and one.value > 0 for one in found])
    assert claimed >= 0.8
    assert np.mean([one.low <= truth <= one.high for one in found]) >= 0.95
    assert np.median([one.found for one in found]) == pytest.approx(0.04, abs=0.012)


def test_many_shots_do_not_make_up_for_few_seeds():
    """The test over shots alone calls one of two lucky networks better; that over both levels does not."""
    rng, over_shots, over_both = np.random.default_rng(5), 0, 0
    for _ in range(100):
        difficulty = rng.normal(size=10_000)
        first, second = (answers(rng, difficulty, sd_of_seeds=0.1, seeds=2) for _ in range(2))
        over_shots += significance.accuracies(first[0], second[0]).difference.p < 0.05
        over_both += two_level.difference(first, second).p < 0.05
    assert over_shots > 50
    assert over_both <= 5


def test_the_parts_of_the_error_are_those_of_seeds_and_shots():
    first = np.array([[0.0, 0, 1, 1], [0, 0, 0, 1]])  # accuracies 0.5 and 0.25
    second = np.array([[1.0, 1, 1, 1], [1, 1, 0, 1]])
    found = two_level.difference(first, second)
    of_seeds = 2 * (0.25**2 / 2) / 2  # of each group the variance 0.03125 of two seeds, by their number
    of_shots = np.var([1, 1, 0, 0], ddof=1) / 4
    assert found.value == 0.5
    assert found.of_seeds == pytest.approx(math.sqrt(of_seeds))
    assert found.error == pytest.approx(math.sqrt(of_seeds + of_shots))
    assert 2 < found.freedom < 5
    assert -found == two_level.difference(second, first)
    assert two_level.spread(first).mean == 0.375
    assert two_level.spread(first).sd == pytest.approx(0.25 / math.sqrt(2))


def test_shares_alone_have_the_interval_of_seeds_and_independent_shots():
    rng = np.random.default_rng(4)
    scores = rng.random((5, SHOTS)) < 0.7
    of_shots, of_shares = two_level.spread(scores), two_level.spread_of_shares(list(scores.mean(axis=1)), SHOTS)
    assert (of_shares.mean, of_shares.sd) == pytest.approx((of_shots.mean, of_shots.sd))
    assert of_shares.high - of_shares.low > of_shots.high - of_shots.low  # whose noise is another's for each seed
    alike = np.repeat(scores[:1], 5, axis=0)
    of_shots, of_shares = two_level.spread(alike), two_level.spread_of_shares(list(alike.mean(axis=1)), SHOTS)
    assert (of_shares.low, of_shares.high) == pytest.approx((of_shots.low, of_shots.high), abs=1e-3)
    assert two_level.spread_of_shares([1.0, 1.0], 20).low == pytest.approx(0.025 ** (1 / 20))


def test_one_more_seed_lies_within_what_the_others_give_as_often_as_it_says():
    rng = np.random.default_rng(2)
    inside = []
    for _ in range(1000):
        *known, new = rng.normal(0.8, 0.01, 6)
        low, high = two_level.of_another_seed(np.mean(known), np.std(known, ddof=1), len(known))
        inside.append(low <= new <= high)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)


def test_shots_that_are_alike_count_as_one():
    rng = np.random.default_rng(0)
    difficulty, blocks = rng.normal(size=100), np.arange(100)
    groups = [answers(rng, difficulty, seeds=3) for _ in range(2)]
    alone = two_level.difference(*groups)
    assert two_level.difference(*groups, blocks) == alone
    repeated = [np.repeat(group, 4, axis=1) for group in groups]
    together = two_level.difference(*repeated, np.repeat(blocks, 4))
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high))
    assert two_level.difference(*repeated).low > alone.low


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 99))
def test_any_scores_have_an_interval_around_their_mean(seeds, shots, draw):
    scores = np.random.default_rng(draw).integers(0, 2, (seeds, shots))
    found = two_level.spread(scores)
    assert found.low <= found.mean <= found.high
    assert found.mean == pytest.approx(scores.mean())
    assert math.isnan(found.sd) == (seeds == 1)


def test_groups_without_any_spread_differ_or_do_not():
    same = two_level.difference(np.ones((2, 9)), np.ones((3, 9)))
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert two_level.difference(np.ones((2, 9)), np.zeros((2, 9))).p == 0


def test_groups_that_never_differ_are_as_good_only_where_many_shots_say_so():
    for shots, shown in ((2, False), (20, False), (190, True)):
        right = np.ones((5, shots), bool)
        found = two_level.difference(right, right)
        assert significance.non_inferiority(found, 0.02, shots).shown == shown
        assert two_level.spread(right).low == pytest.approx(0.025 ** (1 / shots))
        assert two_level.spread(right).high == 1


def test_one_seed_and_other_shots_are_refused():
    for first, second in (((1, 9), (5, 9)), ((5, 9), (1, 9)), ((5, 9), (5, 8)), ((0, 9), (5, 9))):
        with pytest.raises(ValueError, match="two groups"):
            two_level.difference(np.ones(first), np.ones(second))
    with pytest.raises(ValueError, match="at least one shot"):
        two_level.spread(np.ones((5, 0)))


def test_equal_settings_pass_the_gate_as_often_as_the_power_says_and_more_shots_or_seeds_would_do():
    found = [significance.non_inferiority(one, 0.02, SHOTS) for one in pairs(300)]
    assert np.mean([one.shown for one in found]) == pytest.approx(np.mean([one.power for one in found]), abs=0.1)
    few = significance.Difference(0, -0.05, 0.05, 1, freedom=8, of_seeds=0.001)
    enough = significance.non_inferiority(few, 0.02, SHOTS).shots
    assert SHOTS < enough < np.inf
    of_seeds_alone = significance.Difference(0, -0.05, 0.05, 1, freedom=8, of_seeds=0.02)
    assert significance.non_inferiority(of_seeds_alone, 0.02, SHOTS).shots == np.inf
