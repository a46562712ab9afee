import pytest

from xtcav_ml.config import parameters
from xtcav_ml.config.base import flatten, validate_section
from xtcav_ml.config.data import Axes, DataParams
from xtcav_ml.config.paths import SIMULATED
from xtcav_ml.config.simulate import CalibrationParams
from xtcav_ml.system.errors import UserError

SIMULATION = CalibrationParams(
    umperpix=36.0, strstrength=100.0, rfampcalib=30.0, rfphasecalib=0.0, dumpe=3500.0, dumpdisp=1.26
)


def data(raw, **more):
    return DataParams(raw=raw, bad_files="fail", frame_shape=(4, 6), **more)


def test_simulated_frames_have_the_axes_of_the_simulation_and_others_only_those_that_are_named():
    own = Axes(time_per_column=-2.0, energy_per_row=0.3)
    assert data(str(SIMULATED)).calibration(SIMULATION) == SIMULATION
    assert data("my/files").calibration(SIMULATION) is None
    assert data("my/files", axes=own).calibration(SIMULATION) == own
    assert data("my/files", axes=SIMULATION).calibration(None) == SIMULATION


def test_axes_are_steps_or_the_constants_of_a_calibration_and_an_error_names_what_is_wrong_with_those_meant():
    tree = {"raw": "a", "bad_files": "fail", "frame_shape": [4, 6], "axes": SIMULATION.model_dump()}
    assert validate_section(tree, DataParams, "data").axes == SIMULATION
    assert list(flatten(tree["axes"])) == [row.key.removeprefix("data.axes.") for row in axes_rows(tree)]
    for axes, problem in {
        ("umperpix", 26.0): r"data\.axes\.strstrength: missing",
        ("dumpdisp", 0.0): r"data\.axes: dumpdisp: no dispersion",
        (
            "umperpixel",
            26.0,
        ): r"data\.axes\.umperpixel: unknown key \(found 'data.axes.umperpixel', expected umperpix\)",
    }.items():
        changed = {**({} if axes[0] == "umperpix" else tree["axes"]), axes[0]: axes[1]}
        with pytest.raises(UserError, match=problem):
            validate_section({**tree, "axes": changed}, DataParams, "data")


def axes_rows(tree):
    rows = parameters.section_rows(validate_section(tree, DataParams, "data"), "data")
    return [row for row in rows if row.key.startswith("data.axes.")]


@pytest.mark.parametrize("key", ["time_per_column", "energy_per_row"])
def test_columns_and_rows_lie_apart(key):
    tree = {"raw": "a", "bad_files": "fail", "frame_shape": [4, 6]}
    tree["axes"] = {"time_per_column": 1.0, "energy_per_row": 1.0, key: 0.0}
    with pytest.raises(UserError, match=rf"data\.axes: {key}: .*found 0, expected another number\)\. Fix: "):
        validate_section(tree, DataParams, "data")
