import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtcav_ml import metrics


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


def test_z_score_of_the_notes():
    # 64 % of 80 shots against even chances: "Z score of 2.5"
    assert metrics.z_score(round(0.64 * 80), 80, 0.5) == pytest.approx(2.5, abs=0.05)
    assert np.isnan(metrics.z_score(5, 5, 1.0))


def test_best_epoch_is_the_most_accurate_then_the_surest_then_the_first():
    rows = [(0.5, 1.0), (0.7, 0.9), (0.7, 0.8), (0.7, 0.8), (0.6, 0.1)]
    assert metrics.best_epoch([{"val_accuracy": a, "val_cross_entropy": c} for a, c in rows]) == 3


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="expected truth"):
        metrics.classification(np.array([0, 1]), certain([0], 2))
    with pytest.raises(ValueError, match="expected truth"):
        metrics.classification(np.array([], int), np.zeros((0, 2)))


def test_the_score_is_of_what_is_learned():
    row = {"val_accuracy": 0.8, "val_squared_error": 0.3, "val_loss": 0.9}
    assert metrics.score(row) == -0.9
    assert metrics.score({"val_accuracy": 0.8, "val_loss": 0.9}) == 0.8
    assert metrics.score({"val_squared_error": 0.3, "val_loss": 0.9}) == -0.3


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
