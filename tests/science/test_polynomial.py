import numpy as np
import pytest

from xtcav_ml.science.polynomial import Polynomial


def test_a_polynomial_of_its_degree_is_found_exactly():
    features = np.random.default_rng(0).normal(100, 3, (200, 3))
    numbers = 5 - 2 * features[:, 0] + 0.3 * features[:, 1] * features[:, 2] + features[:, 2] ** 2
    assert Polynomial.fit(features, numbers, 2).predict(features) == pytest.approx(numbers)
    assert np.abs(Polynomial.fit(features, numbers, 1).predict(features) - numbers).max() > 1


def test_degree_0_is_the_mean_and_a_constant_feature_is_no_fault():
    features, numbers = np.ones((4, 1), np.float32), np.array([1.0, 2, 3, 6])
    assert Polynomial.fit(features, numbers, 0).predict(features).tolist() == pytest.approx([3] * 4)
    assert Polynomial.fit(features, numbers, 2).predict(features).tolist() == pytest.approx([3] * 4)


@pytest.mark.parametrize(("degree", "terms"), [(0, 1), (1, 4), (2, 10), (3, 20)])
def test_all_products_are_terms(degree, terms):
    features = np.random.default_rng(1).normal(size=(50, 3))
    assert Polynomial.fit(features, features[:, 0], degree).coefficients.shape == (terms,)
