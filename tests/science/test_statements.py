"""Temperature, sets and intervals: known answers, and true as often as they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtcav_ml.science import metrics, statements
from xtcav_ml.science.statements import Statements


def drawn(shots, sharpness, seed, classes=4):
    """Labels, and the true chances of each to the power of `sharpness`, normalized: 1 is right, more is too sure."""
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet(np.full(classes, 0.4), shots)
    labels = (rng.random((shots, 1)) > chances.cumsum(axis=1)).sum(axis=1).clip(max=classes - 1)
    return labels, statements.tempered(chances, 1 / sharpness)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_how_much_too_sure_a_network_is(sharpness):
    labels, probabilities = drawn(20_000, sharpness, 1)
    found = statements.temperature(labels, probabilities)
    assert found == pytest.approx(sharpness, rel=0.05)
    right = statements.tempered(probabilities, found)
    assert metrics.calibration(labels, right).expected_error < 0.02
    assert (right.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    np.testing.assert_allclose(right.sum(axis=1), 1)


def test_a_network_that_is_always_right_is_not_made_certain():
    labels = np.arange(20) % 2
    found = statements.tempered(np.where(np.eye(2)[labels], 0.9, 0.1), 1)
    certain = statements.tempered(found, statements.temperature(labels, found))
    assert certain.max(axis=1) == pytest.approx(21 / 22, abs=0.001)  # 20 labels of it and one more of each
    assert statements.temperature(labels, np.eye(2)[labels]) <= statements.TEMPERATURES[1]


def test_chances_that_are_all_equal_have_any_temperature():
    assert statements.TEMPERATURES[0] < statements.temperature(np.array([0, 1]), np.full((2, 2), 0.5)) < 20


def test_thresholds_are_ranks_of_the_labels_of_a_class():
    scores = np.arange(1, 20) / 20  # 19 shots: one of ten new ones, of 20 ranks two, may be below the second
    probabilities = np.stack([scores, 1 - scores], axis=1)
    assert statements.least_probabilities(np.zeros(19, int), probabilities, 0.9) == [pytest.approx(0.1), 0.0]
    assert statements.least_probabilities(np.zeros(8, int), probabilities[:8], 0.9) == [0.0, 0.0]  # too few to say


def test_intervals_are_ranks_of_the_errors():
    truth = np.append(np.arange(1.0, 20.0), np.nan)
    assert statements.half_width(truth, np.zeros(20), 0.9) == 18
    assert statements.half_width(truth[:8], np.zeros(8), 0.9) is None
    said = Statements(coverage=0.9, temperature=None, least=(), half_width=(18.0, None))
    low, high = said.ends(np.array([[1.0, 2.0], [np.nan, 0.0]], np.float32))
    np.testing.assert_array_equal(low, [[-17, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(high, [[19, np.nan], [np.nan, np.nan]])
    assert low.dtype == np.float32


def test_sets_have_the_classes_over_their_threshold_and_none_of_a_shot_without_prediction():
    said = Statements(coverage=0.9, temperature=1.0, least=(0.5, 0.0), half_width=())
    probabilities = np.array([[0.5, 0.5], [0.4, 0.6], [np.nan, np.nan]], np.float32)
    assert said.sets(probabilities).tolist() == [[True, True], [False, True], [False, False]]


@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.sampled_from([0.5, 0.8, 0.9, 0.95]))
def test_the_shots_they_are_made_from_are_covered(seed, shots, coverage):
    labels, probabilities = drawn(shots, 2.0, seed)
    said = Statements(
        coverage=coverage,
        temperature=1.0,
        least=tuple(statements.least_probabilities(labels, probabilities, coverage)),
        half_width=(),
    )
    covered = (probabilities >= said.least)[np.arange(shots), labels]
    for label in set(labels.tolist()):
        assert covered[labels == label].mean() >= coverage - 1e-9


def test_the_likely_coverage_is_that_of_thresholds_made_from_as_many_shots():
    """Of scores that are uniform, a threshold is the share that is below it."""
    covered = 1 - np.array([drawn_threshold(31, 0.9, seed) for seed in range(2000)])
    low, high = statements.likely_coverage(31, 0.9)
    assert 0.935 < ((low <= covered) & (covered <= high)).mean() < 0.965
    assert (low, high) == pytest.approx(np.quantile(covered, [0.025, 0.975]), abs=0.015)
    assert statements.likely_coverage(10**6, 0.9) == pytest.approx((0.9, 0.9), abs=0.001)
    assert statements.likely_coverage(8, 0.9) == (1, 1)  # too few: in every set


def drawn_threshold(shots, coverage, seed):
    scores = np.random.default_rng(seed).random((shots, 1))
    return statements.least_probabilities(np.zeros(shots, int), scores, coverage)[0]


@pytest.mark.thorough
def test_sets_and_intervals_hold_for_new_shots_of_each_class_on_twenty_splits():
    covered, intervals = np.zeros((4, 2), int), np.zeros(2, int)
    for split in range(20):
        rng = np.random.default_rng([7, split])
        labels, probabilities = drawn(2400, 2.0, split)
        numbers, errors = rng.normal(size=2400), rng.standard_t(3, 2400)
        known, new = slice(0, 1200), slice(1200, None)
        least = statements.least_probabilities(labels[known], probabilities[known], 0.9)
        width = statements.half_width(numbers[known] + errors[known], numbers[known], 0.9)
        inside = (probabilities >= least)[np.arange(2400), labels][new]
        for label in range(4):
            of = labels[new] == label
            covered[label] += inside[of].sum(), of.sum()
        intervals += (np.abs(errors[new]) <= width).sum(), 1200
    shares = covered[:, 0] / covered[:, 1]
    np.testing.assert_allclose(shares, 0.9, atol=0.015)
    assert intervals[0] / intervals[1] == pytest.approx(0.9, abs=0.01)
