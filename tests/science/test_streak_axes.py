"""Axes of a frame from calibration and RF, by hand."""

import numpy as np
import pytest

from tests.conftest import ROOT
from xtcav_ml.config import params_file
from xtcav_ml.config.data import Axes
from xtcav_ml.config.simulate import LARGEST_PHASE, CalibrationParams
from xtcav_ml.science import streak_axes

CALIBRATION = CalibrationParams(
    umperpix=30.0, strstrength=100.0, rfampcalib=20.0, rfphasecalib=90.0, dumpe=4000.0, dumpdisp=0.6
)


def test_energy_and_time_are_those_of_the_classical_formulas():
    assert CALIBRATION.energy_per_row == pytest.approx(0.2)  # 30 um x 4000 MeV / 0.6 m
    found = streak_axes.time_per_column(CALIBRATION, np.array([20.0, 40.0]), np.array([90.0, 100.0]))
    np.testing.assert_allclose(found, [1.0, 0.5])  # 30 um / (0.3 um/fs x 100), at twice the amplitude half


def test_the_sign_of_the_phase_mirrors_and_a_phase_without_streak_has_no_axis():
    phases = np.array([90.0, 149.0, 151.0, 180.0, 209.0, 211.0, 270.0, 450.0, -90.0])
    found = streak_axes.time_per_column(CALIBRATION, np.full(9, 20.0), phases)
    np.testing.assert_allclose(found, [1, 1, np.nan, np.nan, np.nan, -1, -1, 1, -1])


def test_the_axes_of_a_shot_follow_from_its_rf_and_there_are_none_without_a_streak():
    assert streak_axes.axes_at(CALIBRATION, 40.0, 270.0) == Axes(time_per_column=-0.5, energy_per_row=0.2)
    for amplitude, phase in ((20.0, 180.0), (np.nan, 90.0), (20.0, np.nan), (0.0, 90.0), (1e-9, 90.0)):
        assert streak_axes.axes_at(CALIBRATION, amplitude, phase) is None


def test_the_longest_step_is_that_of_the_axes():
    for sign in (-1, 1):
        Axes(time_per_column=sign * streak_axes.LONGEST_STEP, energy_per_row=1.0)
        with pytest.raises(ValueError, match="1000"):
            Axes(time_per_column=sign * np.nextafter(streak_axes.LONGEST_STEP, np.inf), energy_per_row=1.0)


def test_where_the_rf_is_not_known_the_usual_one_counts():
    params = params_file.load_params(ROOT / "params.yaml")
    simulate = params.simulate.model_copy(
        update={
            "calibration": CALIBRATION,
            "machine": params.simulate.machine.model_copy(
                update={"xtcav_amplitude": (40.0, 0.0, 0.0, 0.0), "xtcav_phase": (270.0, 0.0, 0.0, 0.0)}
            ),
        }
    )
    assert streak_axes.usual_axes(params.data, simulate) == Axes(time_per_column=-0.5, energy_per_row=0.2)
    own = params.data.model_copy(update={"raw": "mine"})
    assert streak_axes.usual_axes(own, simulate) is None
    found = streak_axes.usual_axes(own.model_copy(update={"axes": CALIBRATION}), simulate)
    assert found.time_per_column == pytest.approx(1.0)
    assert found.energy_per_row == pytest.approx(0.2)
    steps = Axes(time_per_column=-3.0, energy_per_row=0.3)
    assert streak_axes.usual_axes(own.model_copy(update={"axes": steps}), simulate) == steps


def test_the_largest_phase_of_a_simulation_is_that_with_the_least_cosine():
    assert streak_axes.cosine(np.array([LARGEST_PHASE])) == pytest.approx(streak_axes.LEAST_COSINE)


def test_the_cosine_is_that_of_the_library():
    degrees = np.linspace(-1000, 1000, 4001)
    np.testing.assert_allclose(streak_axes.cosine(degrees), np.cos(np.radians(degrees)), atol=1e-12)
