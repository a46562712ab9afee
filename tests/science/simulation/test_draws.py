"""Random numbers have the distributions that they are named for."""

import numpy as np
import pytest
from scipy import stats

from xtcav_ml.science.simulation import draws

COUNT = 200_000


def rng(seed=0):
    return np.random.Generator(np.random.SFC64(seed))


def test_uniform_numbers_fill_their_range_and_exponential_ones_have_mean_1():
    assert stats.kstest(draws.uniform(rng(), -2, 6, COUNT), stats.uniform(-2, 8).cdf).pvalue > 0.01
    assert stats.kstest(draws.exponential(rng(), COUNT), stats.expon.cdf).pvalue > 0.01
    assert -2 <= draws.uniform(rng(), -2, 6) <= 6


def test_normal_quantiles_are_right_in_the_middle_and_in_both_tails():
    places = np.array([1, 2**20, 2**30, 2**31 - 2**26, 2**31 - 2**20, 2**31 - 2**14])
    both = np.concatenate([places, -places])
    np.testing.assert_allclose(draws.normal_quantiles(both), stats.norm.ppf(0.5 + both / 2**32), rtol=1e-5)
    assert (np.diff(draws.normal_quantiles(np.arange(-(2**31), 2**31, 2**16 - 1))) > 0).all()
    ends = draws.normal_quantiles(np.array([-(2**31), 0, 2**31 - 1], np.int32))
    np.testing.assert_allclose(ends, [-6.338, 0, 6.166], atol=1e-3)


@pytest.mark.parametrize("draw", [draws.normal, draws.noise])
def test_normal_numbers_are_normal(draw):
    values = draw(rng(), (COUNT // 7, 7))
    assert values.shape == (COUNT // 7, 7)
    assert stats.kstest(values.ravel(), stats.norm.cdf).pvalue > 0.01
    assert values.std() == pytest.approx(1, abs=0.005)
    assert stats.kurtosis(values, axis=None) == pytest.approx(0, abs=0.05)
    assert draw(rng(), (0,)).shape == (0,)


def test_noise_reaches_as_far_as_a_normal_distribution():
    values = np.abs(draws.noise(rng(), (4_000_000,)))
    for width in (3.5, 4.0, 4.3, 4.6):
        expected = 4_000_000 * 2 * stats.norm.sf(width)
        assert (values > width).sum() == pytest.approx(expected, abs=4 * expected**0.5)


@pytest.mark.parametrize("mean", [0.01, 0.5, 3, 15.9, 16, 40, 700])
def test_counts_are_poissonian(mean):
    counts = draws.poisson(rng(), np.full((COUNT // 10, 10), mean, np.float32))
    assert counts.shape == (COUNT // 10, 10)
    numbers = np.arange(counts.max() + 2)
    expected = stats.poisson.pmf(numbers, np.float32(mean)) * counts.size
    seen = np.bincount(counts.ravel(), minlength=len(numbers))
    often = expected > 10
    assert stats.chisquare(seen[often], expected[often] * seen[often].sum() / expected[often].sum()).pvalue > 0.01


def test_counts_of_different_means_stand_where_their_means_do():
    mean = np.tile([[0.0, 1e3, 1e-9], [2.0, 50.0, 0.0]], (100, 1, 1))
    counts = draws.poisson(rng(), mean)
    assert not counts[:, 0, 0].any()
    assert not counts[:, 1, 2].any()
    np.testing.assert_allclose(counts.mean(axis=0), mean[0], rtol=0.2, atol=1e-6)
    assert (counts >= 0).all()
