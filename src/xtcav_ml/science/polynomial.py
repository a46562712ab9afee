"""Polynomials of features, fitted by least squares: what a network on a few numbers has to beat."""

import itertools
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Polynomial:
    """Coefficients of all products of up to `degree` standardized features."""

    degree: int
    mean: Array  # (F,)
    sd: Array  # (F,)
    coefficients: Array  # (terms,)

    @classmethod
    def fit(cls, features: Array, numbers: Array, degree: int) -> Self:
        """Return the least-squares fit of `numbers` (N,) by `features` (N, F), all finite."""
        mean, sd = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
        sd = np.where(sd > 0, sd, 1)
        terms = _terms((features - mean) / sd, degree)
        return cls(degree, mean, sd, np.linalg.lstsq(terms, numbers.astype(np.float64))[0])

    def predict(self, features: Array) -> Array:
        """Return the numbers (N,) that the polynomial gives for `features` (N, F)."""
        return _terms((features - self.mean) / self.sd, self.degree) @ self.coefficients


def _terms(values: Array, degree: int) -> Array:
    """Return the products (N, terms) of up to `degree` columns of `values` (N, F), a 1 first."""
    groups = (itertools.combinations_with_replacement(values.T, count) for count in range(degree + 1))
    return np.stack(
        [np.prod([np.ones(len(values)), *columns], axis=0) for group in groups for columns in group], axis=1
    )
