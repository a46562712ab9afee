import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtcav_ml.science import significance

COUNTS = st.integers(0, 60)


def answers(both, only_first, only_second, neither):
    """Return which of the shots each of two models is right on."""
    counts = [both, only_first, only_second, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def test_mcnemar_of_known_counts():
    assert significance.mcnemar(10, 2) == pytest.approx(2 * (1 + 12 + 66) / 4096)
    assert significance.mcnemar(0, 5) == pytest.approx(2 / 32)
    assert significance.mcnemar(3, 3) == 1
    assert significance.mcnemar(0, 0) == 1


@given(COUNTS, COUNTS)
def test_mcnemar_is_the_exact_binomial_test(b, c):
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert significance.mcnemar(b, c) == pytest.approx(min(1, 2 * tail), rel=1e-9)
    assert significance.mcnemar(b, c) == significance.mcnemar(c, b)


def test_mcnemar_of_very_many_shots_is_that_of_the_normal_distribution():
    z = (50_700 - 49_300 - 1) / math.sqrt(100_000)  # corrected for continuity
    assert significance.mcnemar(49_300, 50_700) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=1e-3)
    assert significance.mcnemar(0, 100_000) == 0


def test_accuracies_of_a_known_table():
    found = significance.accuracies(*answers(60, 2, 12, 26))
    assert (found.both, found.only_first, found.only_second, found.neither) == (60, 2, 12, 26)
    assert found.difference.value == pytest.approx(0.10)
    assert found.difference.p == significance.mcnemar(2, 12)
    sd = math.sqrt((2 + 12) / 100 - 0.1**2) / 10  # of the mean of 100 differences
    assert found.difference.low == pytest.approx(0.10 - 1.96 * sd, abs=0.011)  # it moves in steps of one shot
    assert found.difference.high == pytest.approx(0.10 + 1.96 * sd, abs=0.011)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_accuracies_of_any_table(both, only_first, only_second, neither):
    first, second = answers(both, only_first, only_second, neither)
    if not len(first):
        with pytest.raises(ValueError, match="same shots"):
            significance.accuracies(first, second)
        return
    found = significance.accuracies(first, second)
    assert (found.both, found.only_first, found.only_second, found.neither) == (both, only_first, only_second, neither)
    assert found.difference.value == pytest.approx(second.mean() - first.mean())
    assert found.difference.low <= found.difference.value <= found.difference.high
    assert found == significance.accuracies(first, second)
    if not only_first and not only_second:
        half = significance.unseen(len(first))
        assert found.difference == significance.Difference(0, -half, half, 1)


def test_the_interval_holds_the_truth_as_often_as_it_says_and_p_errs_no_more():
    """400 pairs of models that are right on 80 % of the shots, independently: the true difference is zero."""
    rng = np.random.default_rng(0)
    found = [significance.accuracies(*(rng.random((2, 300)) < 0.8)).difference for _ in range(400)]
    assert 0.92 <= np.mean([one.low <= 0 <= one.high for one in found]) <= 0.98
    assert np.mean([one.p < 0.05 for one in found]) <= 0.07


def test_absolute_errors_of_known_differences():
    first, second = np.array([3.0, -3.0, 3.0, -3.0]), np.array([-1.0, 1.0, -1.0, 1.0])
    found = significance.absolute_errors(first, second)
    assert (found.value, found.low, found.high) == (-2, -2, -2)
    assert found.p == pytest.approx(2 / 10_001)  # none of the resamples is on the other side
    same = significance.absolute_errors(first, -first)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_the_bootstrap_is_that_of_the_mean(monkeypatch):
    rng = np.random.default_rng(3)
    first, second = np.abs(rng.normal(size=(2, 500)))
    found = significance.absolute_errors(first, second)
    sd = (second - first).std() / math.sqrt(500)
    assert found.low == pytest.approx(found.value - 1.96 * sd, abs=0.1 * sd)
    assert found.high == pytest.approx(found.value + 1.96 * sd, abs=0.1 * sd)
    assert found.p == pytest.approx(math.erfc(abs(found.value) / sd / math.sqrt(2)), abs=0.03)
    monkeypatch.setattr(significance, "DRAWN_AT_ONCE", 70 * 500)
    pieces = significance.absolute_errors(first, second)  # drawn in many calls: the same numbers
    assert pieces == found


def test_one_shot_is_its_own_resample():
    found = significance.absolute_errors(np.array([3.0]), np.array([-1.0]))
    assert (found.value, found.low, found.high) == (-2, -2, -2)


def test_z_of_mcnemar_is_that_of_a_coin():
    assert significance.mcnemar_z(40, 205) == pytest.approx(165 / math.sqrt(245))
    assert significance.mcnemar_z(3, 1) == -1
    assert significance.mcnemar_z(0, 0) == 0


def test_a_loss_that_chance_could_hide_is_not_shown_to_be_none():
    """40 against 26 discordant shots of 411: 3.4 points lost, p = 0.11."""
    lost = significance.accuracies(*answers(300, 40, 26, 45)).difference
    assert lost.p == pytest.approx(0.109, abs=1e-3)
    found = significance.non_inferiority(lost, 0.02, 411)
    assert not found.shown
    assert found.power == pytest.approx(0.17, abs=0.02)
    assert found.shots == pytest.approx((1.96 + 0.8416) ** 2 * (66 / 411 - (14 / 411) ** 2) / 0.02**2, rel=0.05)
    assert significance.non_inferiority(-lost, 0.02, 411).shown


def test_equal_models_pass_as_often_as_the_power_says():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        first = rng.random(1000) < 0.8
        second = np.where(rng.random(1000) < 0.1, rng.random(1000) < 0.8, first)  # as good, answered alike mostly
        found.append(significance.non_inferiority(significance.accuracies(first, second).difference, 0.02, 1000))
    assert np.mean([one.shown for one in found]) == pytest.approx(np.mean([one.power for one in found]), abs=0.05)


@pytest.mark.parametrize(("shots", "shown"), [(1, False), (20, False), (180, False), (190, True)])
def test_models_that_never_differ_are_as_good_only_where_many_shots_say_so(shots, shown):
    """Were 2 % of all shots lost, none of 180 would be seen lost with a probability of 2.6 %."""
    right = np.ones(shots, bool)
    alike = significance.accuracies(right, right).difference
    found = significance.non_inferiority(alike, 0.02, shots)
    assert (found.shown, alike.found > 0) == (shown, True)
    assert (1 - significance.unseen(shots)) ** shots == pytest.approx(0.025)
    assert found.power < 0.8


def test_without_any_spread_no_shots_are_needed_and_no_margin_passes_none():
    same = significance.Difference(0, 0, 0, 1)
    assert significance.non_inferiority(same, 0.02, 10) == significance.NonInferiority(True, 1, 0)
    assert significance.non_inferiority(same, 0, 10) == significance.NonInferiority(False, 0, math.inf)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_raises_and_keeps_the_order(p_values):
    raised = significance.holm(p_values)
    assert all(p <= q <= min(1, len(p_values) * p) for p, q in zip(p_values, raised, strict=True))
    pairs = sorted(zip(p_values, raised, strict=True))
    assert [q for _, q in pairs] == sorted(raised)


def test_the_gain_of_one_model_has_the_interval_of_agresti_and_caffo():
    low, high = significance.gain_of_best(0.5, 0.6, 100, 1)  # 51 and 61 of 102
    error = math.sqrt((51 * 51 + 61 * 41) / 102**3)
    assert (low, high) == pytest.approx((10 / 102 - 1.96 * error, 10 / 102 + 1.96 * error), abs=1e-4)
    assert significance.gain_of_best(1, 1, 5, 1)[0] < 0 < significance.gain_of_best(1, 1, 5, 1)[1]


@pytest.mark.parametrize("choices", [1, 11, 50])
def test_the_best_of_equal_models_is_rarely_called_better(choices):
    rng = np.random.default_rng(choices)
    shots, claims = 400, 0
    for _ in range(1000):
        baseline, *others = rng.binomial(shots, 0.7, choices + 1) / shots
        claims += significance.gain_of_best(baseline, max(others), shots, choices)[0] > 0
    assert claims <= 50


def test_holm_of_known_values():
    assert significance.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert significance.holm([0.03]) == [0.03]
    assert significance.holm([]) == []


def test_arrays_of_different_shots_are_refused():
    for function, dtype in ((significance.accuracies, bool), (significance.absolute_errors, float)):
        with pytest.raises(ValueError, match="same shots"):
            function(np.zeros(3, dtype), np.zeros(4, dtype))
