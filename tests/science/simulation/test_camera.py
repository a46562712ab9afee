"""Known answers of the camera."""

import numpy as np
import pytest

from tests.conftest import ROOT
from xtcav_ml.config.base import read_tree, validate_section
from xtcav_ml.config.simulate import SimulateParams
from xtcav_ml.science.simulation import camera

PARAMS = validate_section(read_tree(ROOT / "params.yaml")["simulate"], SimulateParams, "simulate").camera


def rng(seed=0):
    return np.random.Generator(np.random.SFC64(seed))


def streak(column=30.0, row=40.0, spread=4.0, charge=1.0):
    return camera.Streak(*(np.array([value]) for value in (charge, column, row, spread)))


@pytest.mark.parametrize(("column", "row"), [(30.0, 40.0), (30.4, 39.7)])
def test_a_point_is_centred_and_as_wide_as_spread_and_resolution(column, row):
    screen = camera.charge_density([streak(column, row)], (3.0, 2.0), (100, 80))
    assert screen.sum() == pytest.approx(1, rel=1e-4)
    for profile, middle, width in ((screen.sum(axis=1), row, 5), (screen.sum(axis=0), column, 2)):
        place = np.arange(len(profile))
        assert (profile * place).sum() == pytest.approx(middle, abs=2e-3)
        assert (profile * (place - middle) ** 2).sum() == pytest.approx(width**2, rel=0.07)


def test_a_tilted_streak_is_as_a_convolution_makes_it():
    from scipy.ndimage import gaussian_filter

    along = np.arange(20.0, 60.0, 0.25)
    tilted = camera.Streak(np.ones_like(along), along, 30 + 0.8 * along, np.full_like(along, 3.0))
    found = camera.charge_density([tilted], (3.0, 2.5), (110, 80))
    screen = np.zeros((110, 80))
    for column, row in zip(along, 30 + 0.8 * along, strict=True):
        part = column % 1
        line = np.exp(-0.5 * ((np.arange(110) - row) / 3) ** 2) / (3 * np.sqrt(2 * np.pi))
        screen[:, int(column)] += (1 - part) * line
        screen[:, int(column) + 1] += part * line
    expected = gaussian_filter(screen, (3.0, 2.5), mode="constant", truncate=6)
    np.testing.assert_allclose(found, expected, atol=0.02 * expected.max())


@pytest.mark.parametrize(("column", "row"), [(-40.0, 50.0), (200.0, 50.0), (30.0, -400.0), (30.0, 600.0), (0.0, 99.0)])
def test_what_falls_beside_the_screen_is_lost(column, row):
    screen = camera.charge_density([streak(column, row)], (3.0, 2.0), (100, 80))
    assert screen.shape == (100, 80)
    inside = 0 <= column < 80 and 0 <= row < 100
    assert (screen.sum() > 0.1) == inside


def test_noise_is_that_of_the_read_out_and_of_the_quanta():
    charge = np.full((400, 300), 1000 / PARAMS.response, np.float32)
    dark = np.full((400, 300), 100, np.float32)
    quiet, lit = (camera.expose(rng(), dark, each, PARAMS) for each in (None, charge))
    assert quiet.std() == pytest.approx(PARAMS.read_noise, rel=0.02)
    assert lit.mean() == pytest.approx(1100, rel=1e-3)
    assert lit.std() == pytest.approx((1000 / PARAMS.photoelectrons + PARAMS.read_noise**2) ** 0.5, rel=0.02)


def test_the_brightest_pixels_saturate_before_the_dark_level_is_subtracted():
    charge = np.zeros((20, 30), np.float32)
    charge[:5, 20:] = 1
    dark = np.full((20, 30), 100, np.float32)
    frame = camera.expose(rng(), dark, charge, PARAMS)
    assert (frame[:5, 20:] == PARAMS.saturation).all()
    less = camera.stored(frame, dark)
    assert less.dtype == np.int16
    assert (less[:5, 20:] == PARAMS.saturation - 100).all()
    assert less[6:].min() < 0


def test_the_dark_level_moves_with_steps_at_the_read_out_blocks():
    level = np.mean([camera.moved_level(rng(seed), (40, 30), calm()) for seed in range(3)], axis=0)
    for part in (np.s_[:20, :10], np.s_[:20, 10:], np.s_[20:, :10], np.s_[20:, 10:]):
        assert np.ptp(level[part]) < 1e-5
    assert len(np.unique(level.round(4))) == 4


def calm():
    return PARAMS.model_copy(update={"blocks": (20, 10), "moved_columns": 0.0})
