import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtcav_ml.science import metrics


def certain(predicted, classes=4):
    return np.eye(classes)[predicted]


def test_perfect_prediction():
    truth = np.array([0, 1, 2, 3, 3])
    found = metrics.classification(truth, certain(truth))
    assert found.accuracy == found.balanced_accuracy == 1
    assert found.cross_entropy == 0
    assert found.confusion.tolist() == np.diag([1, 1, 1, 2]).tolist()
    assert found.largest_class == pytest.approx(0.4)
    assert found.accuracy_high == 1
    assert 0.5 < found.accuracy_low < 0.6


def test_always_one_class_is_worth_nothing():
    truth = np.array([0] * 60 + [1] * 40)
    found = metrics.classification(truth, certain(np.zeros(100, int), 2))
    assert found.accuracy == found.largest_class == 0.6
    assert found.z_score == 0
    assert found.balanced_accuracy == 0.5
    assert np.isnan(found.precision[1])


def test_confusion_has_truth_in_rows():
    found = metrics.classification(np.array([0, 0, 1]), certain([1, 1, 1], 2))
    assert found.confusion.tolist() == [[0, 2], [0, 1]]


def test_wilson_interval_of_the_published_64_shots():
    # R. G. Newcombe, Stat. Med. 17 (1998) 857, example 81 of 263
    assert metrics.wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert metrics.wilson_interval(0, 20)[0] == 0
    assert metrics.wilson_interval(0, 0) == (0, 1)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_holds_the_rate(pair):
    hits, shots = pair
    low, high = metrics.wilson_interval(hits, shots)
    assert 0 <= low <= hits / shots + 1e-12
    assert hits / shots - 1e-12 <= high <= 1


def test_z_score_against_the_largest_class_is_of_the_same_shots():
    """README's matrix: 205 shots the network alone is right on, 40 the largest class alone."""
    confusion = np.array([[39, 1, 0, 0], [3, 12, 5, 0], [0, 2, 137, 38], [0, 0, 20, 154]])
    truth, predicted = (np.repeat(index.ravel(), confusion.ravel()) for index in np.indices((4, 4)))
    found = metrics.classification(truth, certain(predicted))
    assert found.confusion.tolist() == confusion.tolist()
    assert found.z_score == pytest.approx((205 - 40) / np.sqrt(205 + 40))
    assert metrics.classification(truth, certain(np.full(len(truth), 3))).z_score < 0
    assert metrics.classification(np.zeros(5, int), certain([0] * 5)).z_score == 0


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="expected truth"):
        metrics.classification(np.array([0, 1]), certain([0], 2))
    with pytest.raises(ValueError, match="expected truth"):
        metrics.classification(np.array([], int), np.zeros((0, 2)))


def test_regression_is_measured_in_units_where_there_is_a_number():
    truth = np.array([1.0, 2.0, 3.0, np.nan])
    found = metrics.regression(truth, np.array([1.5, 2.5, 3.5, 1e9]))
    assert (found.shots, found.mean_error, found.mean_absolute_error, found.rms_error) == (3, 0.5, 0.5, 0.5)
    assert found.spread == pytest.approx(np.std([1, 2, 3]))
    assert found.explained == pytest.approx(1 - 0.25 / np.var([1, 2, 3]))
    assert metrics.regression(truth, np.full(4, 2.0)).explained == pytest.approx(0)  # always saying the mean
    nothing = metrics.regression(np.full(2, np.nan), np.zeros(2))
    assert nothing.shots == 0
    assert np.isnan(nothing.rms_error)
    with pytest.raises(ValueError, match="expected truth"):
        metrics.regression(truth, np.zeros(3))


def test_a_calibrated_classifier_has_no_calibration_error():
    # 3 of 4 right at 0.75, 9 of 10 right at 0.9, in bins of their own
    truth = np.array([0, 0, 0, 1] + [0] * 9 + [1])
    sure = np.array([0.75] * 4 + [0.9] * 10)
    found = metrics.calibration(truth, np.stack([sure, 1 - sure], axis=1))
    assert found.expected_error == pytest.approx(0)
    assert found.count.tolist() == [0, 0, 0, 0, 0, 0, 0, 4, 10, 0]  # a bin holds its upper edge
    assert found.accuracy[[7, 8]] == pytest.approx([0.75, 0.9])
    assert (found.accuracy_low[7], found.accuracy_high[7]) == pytest.approx(metrics.wilson_interval(3, 4))
    assert np.isnan(found.confidence[0])
    assert np.isnan(found.accuracy_low[0])


def test_a_classifier_that_is_too_sure_errs_by_as_much():
    found = metrics.calibration(np.array([0, 1]), certain([0, 0], 2))
    assert found.expected_error == 0.5
    assert found.brier == (0 + 2) / 2  # certain and right 0, certain and wrong 2
    assert metrics.calibration(np.array([0]), np.full((1, 4), 0.25)).brier == pytest.approx(0.75**2 + 3 * 0.25**2)
    assert metrics.calibration(np.array([2]), certain([2])).brier == 0
    with pytest.raises(ValueError, match="expected truth"):
        metrics.calibration(np.array([], int), np.zeros((0, 2)))


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(2, 5), st.integers(1, 20))
def test_calibration_counts_every_shot_and_stays_in_its_limits(seed, shots, classes, bins):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.3), shots).astype(np.float32)
    found = metrics.calibration(rng.integers(classes, size=shots), probabilities, bins)
    assert found.count.sum() == shots
    full = found.count > 0
    assert (found.edges[:-1][full] - 1e-6 <= found.confidence[full]).all()
    assert (found.confidence[full] <= found.edges[1:][full] + 1e-6).all()
    assert 0 <= found.expected_error <= 1
    assert 0 <= found.brier <= 2


def test_calibration_error_of_drawn_truth_vanishes_with_the_number_of_shots():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([1, 1, 1], 100_000)
    truth = (rng.random((len(probabilities), 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    assert metrics.calibration(truth, probabilities).expected_error < 0.01


def test_chance_alone_gives_calibration_errors_up_to_their_interval():
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet([1, 1, 1], 400)
    low, high = metrics.chance_calibration_error(probabilities)
    assert 0.01 < low < high < 0.1
    found = []
    for _ in range(80):
        truth = (rng.random((400, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
        found.append(metrics.calibration(truth, probabilities).expected_error)
    assert np.mean([low <= error <= high for error in found]) == pytest.approx(0.95, abs=0.06)
    assert metrics.calibration(np.zeros(400, int), probabilities).expected_error > high


def test_chance_errs_by_the_binomial_distribution_where_all_are_equally_sure_and_never_where_they_are_certain():
    low, high = metrics.chance_calibration_error(np.tile([0.5, 0.5], (100, 1)))
    assert 0 <= low <= 0.01
    assert 0.09 <= high <= 0.12  # |hits - 50| / 100, of s.d. 0.05
    assert metrics.chance_calibration_error(certain([0, 1])) == (0, 0)
    with pytest.raises(ValueError, match="at least one"):
        metrics.chance_calibration_error(np.zeros((0, 2)))


DETECTED = st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=40)
"""Positives and scores, many of them equal."""


@given(DETECTED)
def test_the_area_is_the_fraction_of_ordered_pairs(shots):
    positive, score = np.array([p for p, _ in shots]), np.array([s for _, s in shots], float)
    pairs = [(a > b) + 0.5 * (a == b) for a in score[positive] for b in score[~positive]]
    found = metrics.roc(positive, score)
    if not pairs:
        assert np.isnan(found.area)
        return
    assert found.area == pytest.approx(np.mean(pairs), abs=1e-12)
    assert metrics.roc(positive, -score).area == pytest.approx(1 - found.area)
    assert metrics.roc(positive, np.exp(score)).area == found.area  # only the order counts
    assert np.trapezoid(found.true_positive_rate, found.false_positive_rate) == pytest.approx(found.area)
    for rate in (found.true_positive_rate, found.false_positive_rate):
        assert (rate[0], rate[-1]) == (0, 1)
        assert (np.diff(rate) >= 0).all()


@given(DETECTED)
def test_precision_and_recall_are_those_of_each_threshold(shots):
    positive, score = np.array([p for p, _ in shots]), np.array([s for _, s in shots], float)
    found = metrics.precision_recall(positive, score)
    thresholds = np.unique(score)[::-1]
    assert len(found.recall) == len(found.precision) == len(thresholds) + 1
    if not positive.any():
        assert np.isnan([found.average, *found.recall, *found.precision]).all()
        return
    recall = [0.0] + [(positive & (score >= level)).sum() / positive.sum() for level in thresholds]
    precision = [positive[score >= level].mean() for level in thresholds]
    np.testing.assert_allclose(found.recall, recall)
    np.testing.assert_allclose(found.precision, [precision[0], *precision])
    assert found.average == pytest.approx(np.dot(np.diff(recall), precision))


def test_curves_of_known_detectors():
    positive = np.array([True, True, False, True, False])
    score = np.array([0.9, 0.8, 0.7, 0.6, 0.1])
    assert metrics.roc(positive, score).area == pytest.approx(5 / 6)
    assert metrics.precision_recall(positive, score).average == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert metrics.roc(positive, positive.astype(float)).area == 1
    assert metrics.precision_recall(positive, positive.astype(float)).average == 1
    blind = np.zeros(5)  # knows nothing: the diagonal, and the share of positives
    assert metrics.roc(positive, blind).area == 0.5
    assert metrics.precision_recall(positive, blind).average == pytest.approx(0.6)
    for curve in (metrics.roc, metrics.precision_recall):
        with pytest.raises(ValueError, match="expected positive"):
            curve(positive, score[:3])
        with pytest.raises(ValueError, match="expected positive"):
            curve(positive[:0], score[:0])
