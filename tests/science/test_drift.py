"""The error of a mean of shots that drift together: equal models are rarely called better, and what is lost without drift."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter

from xtcav_ml.science import drift, significance
from xtcav_ml.science.significance import Difference

SHOTS, DIFFERING = 1600, 0.12  # the share of the shots that one of two models alone is right on


def wander(rng, time, strength):
    """The same around 0: first-order autoregressive, from its stationary distribution on."""
    kept = np.exp(-1 / time)
    noise = rng.normal(size=SHOTS) * np.sqrt(1 - kept**2)
    noise[0] = rng.normal()
    return strength * lfilter([1], [1, -kept], noise)


def gains(rng, expected):
    """Return of each shot whether the second model alone is right (1), the first (-1), or neither or both (0)."""
    expected = np.clip(expected, -0.5, 0.5)
    differing = np.maximum(DIFFERING, np.abs(expected))
    sign = np.where(rng.random(SHOTS) < (1 + expected / differing) / 2, 1.0, -1.0)
    return np.where(rng.random(SHOTS) < differing, sign, 0.0)


def compared(values):
    """Return the difference of two models, of independent shots and as drift may have made it."""
    found = significance.accuracies(values < 0, values > 0).difference
    return found, drift.allowed_for(found, values)


def better(make, pairs, seed=0):
    """Return how often one of two models is called better, of independent shots and as drift may have made it."""
    rng = np.random.default_rng(seed)
    found = [compared(gains(rng, make(rng))) for _ in range(pairs)]
    return np.mean([[one.p < 0.05 for one in pair] for pair in found], axis=0)


@pytest.mark.parametrize(
    ("kind", "time", "strength", "naive"),
    [
        (wander, 10, 0.1, 0.1),
        (wander, 100, 0.02, 0.07),
        (wander, 100, 0.08, 0.4),
        (wander, 300, 0.01, 0.07),
        (wander, 300, 0.08, 0.5),
    ],
)
@pytest.mark.thorough
def test_equal_models_that_drift_are_rarely_called_better(kind, time, strength, naive):
    of_shots, of_drift = better(lambda rng: kind(rng, time, strength), 400)
    assert of_shots > naive
    assert of_drift <= 0.075


@pytest.mark.thorough
def test_a_drift_that_the_shots_hardly_show_is_the_worst_case():
    """Its turns are too few, and too small beside the noise of the shots, to be told from chance: three of them in a record."""
    for strength in (0.02, 0.04):
        assert better(lambda rng, s=strength: wander(rng, 300, s), 400)[1] <= 0.16


@pytest.mark.thorough
def test_without_drift_a_difference_is_found_in_two_of_three_cases_that_independent_shots_show():
    assert better(lambda rng: np.zeros(SHOTS), 400)[1] <= 0.05
    of_shots, of_drift = better(lambda rng: np.full(SHOTS, 0.0243), 400)
    assert of_shots == pytest.approx(0.8, abs=0.05)
    assert of_drift > 0.65 * of_shots
    assert better(lambda rng: np.full(SHOTS, 0.04), 100)[1] > 0.85


def test_independent_values_have_about_the_error_of_independent_values():
    rng = np.random.default_rng(1)
    found = [drift.error_of_mean(rng.normal(size=n)) * np.sqrt(n) for n in (30, 200, 2000, 20_000) for _ in range(20)]
    assert 1 < np.median(found) < 1.4
    assert min(found) > 0.75


def test_blocks_of_equal_values_are_as_few_as_they_are():
    rng = np.random.default_rng(0)
    found = [drift.error_of_mean(np.repeat(rng.normal(size=40), 100)) for _ in range(50)]
    assert np.median(found) * np.sqrt(40) == pytest.approx(1.3, abs=0.4)  # no drift of this kind


def test_a_drift_without_any_noise_has_its_own_error():
    """The mean of N shots of correlation time T, both in shots, has the variance of N / 2 T independent ones."""
    rng = np.random.default_rng(0)
    found = [drift.error_of_mean(wander(rng, 50, 1)) * np.sqrt(SHOTS / 100) for _ in range(50)]
    assert np.median(found) == pytest.approx(1.1, abs=0.35)


def test_nothing_becomes_more_certain():
    surprising = Difference(0.02, 0.01, 0.03, 0.001)
    found = drift.allowed_for(surprising, np.full(50, 0.02))
    assert found == surprising
    drifting = drift.allowed_for(surprising, np.sin(np.arange(50) / 20) + 0.02)
    assert drifting.low < 0.01 < 0.03 < drifting.high
    assert 0.05 < drifting.p < 1
    assert drifting.low < 0 < drifting.high  # as its p-value says


@given(st.integers(1, 300), st.integers(0, 99), st.sampled_from([1.0, 1e-9, 1e9]))
def test_any_values_have_an_error_in_their_own_unit_whatever_their_mean(shots, draw, unit):
    values = np.random.default_rng(draw).integers(-1, 2, shots).astype(float)
    error = drift.error_of_mean(values)
    assert np.isfinite(error)
    assert (error > 0) == (shots > 1 and np.ptp(values) > 0)
    assert drift.error_of_mean(values * unit + unit) == pytest.approx(error * unit, rel=1e-6)
    assert drift.error_of_mean(values[::-1]) == pytest.approx(error, rel=1e-6)
