import pytest

from tests.conftest import SHAPE, small_pictures
from xtcav_ml.config.data import DataParams
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
