import pytest

from xtcav_ml.config.base import validate_section
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
    assert data(str(SIMULATED)).calibration(SIMULATION) == Axes(time_per_column=1.2, energy_per_row=0.1)
    assert data("my/files").calibration(SIMULATION) is None
    assert data("my/files", axes=own).calibration(SIMULATION) == own


@pytest.mark.parametrize("key", ["time_per_column", "energy_per_row"])
def test_columns_and_rows_lie_apart(key):
    tree = {"raw": "a", "bad_files": "fail", "frame_shape": [4, 6]}
    tree["axes"] = {"time_per_column": 1.0, "energy_per_row": 1.0, key: 0.0}
    with pytest.raises(UserError, match=rf"data\.axes: {key}: .*found 0, expected another number\)\. Fix: "):
        validate_section(tree, DataParams, "data")
