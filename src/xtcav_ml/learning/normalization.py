"""Statistics of the training set: of pixels, features and numbers, and the weights of its classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.data.prepared import PreparedFile

LEAST_SPREAD = 0.1
"""Least spread of a pixel that is standardized by itself, as a fraction of the spread of all pixels."""


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation over the training set, of a number or of an array."""

    mean: NDArray[np.float32]
    sd: NDArray[np.float32]


@dataclass(frozen=True)
class TrainingStatistics:
    """Statistics of pixels as stored, () or (rows, columns), of features (F,) and of learned numbers (V,)."""

    pixels: Statistics
    features: Statistics
    numbers: Statistics


def statistics_of(train: PreparedFile, standardize: str) -> TrainingStatistics:
    """Return the statistics of all pixels together, or (`standardize` = pixel) of each by itself; no spread is 0.

    The spread of a single pixel is at least LEAST_SPREAD of that of all: else one that is always dark would count as much as
    one in the beam.
    """
    return TrainingStatistics(_pixels(train, standardize), _statistics(train.features), _statistics(train.targets))


def _pixels(train: PreparedFile, standardize: str) -> Statistics:
    if not train.spec.has_frames:
        return Statistics(np.zeros((), np.float32), np.ones((), np.float32))
    unit = train.spec.preprocessing.unit
    mean = float(train.pixel_mean.mean(dtype=np.float64))
    squares = np.square(train.pixel_sd, dtype=np.float64) + np.square(train.pixel_mean, dtype=np.float64)
    sd = float(np.sqrt(max(squares.mean() - mean**2, 0.0))) or 1.0
    if standardize == "pixel":
        spread = np.maximum(train.pixel_sd, np.float32(LEAST_SPREAD * sd))
        return Statistics((train.pixel_mean / unit).astype(np.float32), (spread / unit).astype(np.float32))
    return Statistics(np.array(mean / unit, np.float32), np.array(sd / unit, np.float32))


def _statistics(values: NDArray[np.float32]) -> Statistics:
    """Return mean and standard deviation of each column (N, columns), NaN left out; 1 where there is no spread."""
    present = np.isfinite(values)
    count = np.maximum(present.sum(axis=0), 1)
    filled = np.where(present, values, 0).astype(np.float64)
    mean = filled.sum(axis=0) / count
    variance = (np.square(filled - mean) * present).sum(axis=0) / count
    return Statistics(mean.astype(np.float32), np.where(variance > 0, np.sqrt(variance), 1).astype(np.float32))


def class_weights(train: PreparedFile) -> NDArray[np.float32]:
    """Return weights (classes,) proportional to 1 / frequency in the training set, of mean 1 over its shots."""
    counts = np.bincount(train.labels, minlength=len(train.classes))
    return (train.shots / (len(counts) * np.maximum(counts, 1))).astype(np.float32)
