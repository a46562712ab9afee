"""Scales against numpy's own mean and standard deviation, and weights that make classes equal."""

import numpy as np
import pytest

from tests.conftest import write_prepared_file
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import normalization


@pytest.fixture
def train(tmp_path):
    rng = np.random.default_rng(0)
    frames = rng.normal(100, 3, (30, 8, 10)) + 20 * (np.arange(10) == 4)
    frames[:, :2] = 100  # two rows, one pixel after the block mean, that no beam ever meets
    known = np.where(rng.random(30) < 0.3, np.nan, rng.normal(5, 2, 30))
    given = {
        "regression": {"peak": known, "constant": np.full(30, 7.0)},
        "features": {"bld.L3energy": rng.normal(4000, 3, 30)},
    }
    path = write_prepared_file(tmp_path / "train.h5", frames.astype(np.int16), np.arange(30) % 10 // 9, **given)
    with PreparedFile(path) as file:
        yield file


def test_scales_are_means_and_spreads_of_what_is_known(train):
    scales = normalization.statistics_of(train, "all")
    images = train.images(np.arange(train.shots)).astype(np.float64)
    unit = train.spec.preprocessing.unit
    assert scales.pixels.mean * unit == pytest.approx(images.mean(), rel=1e-5)
    assert scales.pixels.sd * unit == pytest.approx(images.std(), rel=1e-5)
    np.testing.assert_allclose(scales.features.mean, train.features.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(scales.features.sd, train.features.std(axis=0, dtype=np.float64), rtol=1e-5)
    numbers = train.targets.astype(float)
    assert np.isnan(numbers).any()
    np.testing.assert_allclose(scales.numbers.mean, np.nanmean(numbers, axis=0), rtol=1e-6)
    np.testing.assert_allclose(scales.numbers.sd, [np.nanstd(numbers[:, 0]), 1.0], rtol=1e-5)


def test_a_pixel_of_its_own_scale_is_never_blown_up(train):
    scales = normalization.statistics_of(train, "pixel")
    images = train.images(np.arange(train.shots)).astype(np.float64)
    unit = train.spec.preprocessing.unit
    np.testing.assert_allclose(scales.pixels.mean * unit, images.mean(axis=0), rtol=1e-4, atol=1e-6)
    least = normalization.LEAST_SPREAD * images.std()
    np.testing.assert_allclose(scales.pixels.sd * unit, np.maximum(images.std(axis=0), least), rtol=1e-4)
    assert (images.std(axis=0) < least).any()


def test_weights_make_the_classes_equal_and_keep_the_mean(train):
    weights = normalization.class_weights(train)
    counts = np.bincount(train.labels)
    np.testing.assert_allclose(counts * weights, [15, 15])
