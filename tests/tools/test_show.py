import h5py
import numpy as np
import pytest

from tests.conftest import SHAPE, small_pictures
from xtcav_ml.config.data import Axes, DataParams
from xtcav_ml.config.schema import STREAK
from xtcav_ml.config.simulate import CalibrationParams
from xtcav_ml.pipeline import prepare
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import show


@pytest.fixture
def prepared(raw_folder, params, tmp_path):
    data = DataParams(raw=str(raw_folder), frame_shape=SHAPE, bad_files="fail")
    prepare.prepare_files(data, params.prepare, tmp_path / "prepared")
    return tmp_path / "prepared" / "train.h5"


def test_a_sheet_is_drawn(prepared, raw_folder, tmp_path, capsys):
    with small_pictures():
        show.draw_sheet(prepared, raw_folder, tmp_path / "sheet.png", per_class=2)
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert "raw, and after subtract_dark, block_mean, log" in capsys.readouterr().out


def test_a_missing_raw_file_is_named_with_the_cure(prepared, tmp_path):
    with pytest.raises(UserError, match=r"a\.h5: missing .*Fix: .*--raw"):
        show.draw_sheet(prepared, tmp_path, tmp_path / "sheet.png", per_class=1)


CONSTANTS = CalibrationParams(
    umperpix=30.0, strstrength=100.0, rfampcalib=20.0, rfphasecalib=90.0, dumpe=4000.0, dumpdisp=0.6
)


def sheet_of(prepared, raw_folder, out, monkeypatch, calibrated):
    """Draw a sheet of one shot a class, and return the grids of all pictures, raw and prepared, but the mean ones."""
    found = []
    monkeypatch.setattr(show, "sheet", lambda rows, *_, **__: found.extend(rows))
    monkeypatch.setattr(show, "write_png", lambda *_: None)
    show.draw_sheet(prepared, raw_folder, out, 1, calibrated=calibrated)
    return [picture.grid for _, pictures in found for picture in pictures[:-1]]


def write_rf(path, amplitude, phases):
    with h5py.File(path, "a") as file:
        shots = len(file["run"])
        file[STREAK[0]], file[STREAK[1]] = np.full(shots, amplitude), np.resize(np.array(phases, float), shots)


def test_each_frame_has_the_time_axis_of_its_own_rf_and_one_without_a_streak_is_left_out(
    prepared, raw_folder, tmp_path, monkeypatch, capsys
):
    usual = Axes(time_per_column=1.0, energy_per_row=0.2)
    out, constants = tmp_path / "a.png", show.Calibrated(CONSTANTS, usual)
    grids = sheet_of(prepared, raw_folder, out, monkeypatch, constants)
    assert {grid.column for grid in grids[::2]} == {1.0}  # no RF in the files: that of the calibration
    assert "left out" not in capsys.readouterr().out
    for name in ("a.h5", "b.hdf5"):
        write_rf(raw_folder / name, 40.5, [180.25, np.nan, 269.75])
    grids = sheet_of(prepared, raw_folder, out, monkeypatch, constants)
    assert len(grids) == 8
    assert {grid.column for grid in grids[::2]} == {-20 / 40.5}  # twice the amplitude, on the other side of the RF
    assert {grid.column / raw.column for raw, grid in zip(grids[::2], grids[1::2], strict=True)} == {2}
    assert "shots have no time axis" in capsys.readouterr().out


def test_without_a_calibration_every_shot_is_shown_in_pixels(prepared, raw_folder, tmp_path, monkeypatch):
    write_rf(raw_folder / "a.h5", 40.0, [180.0])
    grids = sheet_of(prepared, raw_folder, tmp_path / "a.png", monkeypatch, show.Calibrated())
    assert [grid.calibrated for grid in grids] == [False] * 8
