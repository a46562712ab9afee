import h5py
import pytest

from tests.lcls2017_files import write_arrays
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import import_data


def test_a_run_becomes_a_file_and_other_files_stay(tmp_path):
    write_arrays(tmp_path / "arrays", shots=40)
    write_arrays(tmp_path / "arrays", run=123, shots=30)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/mine.h5").write_bytes(b"mine")
    paths = import_data.import_folder("lcls2017", tmp_path / "arrays", tmp_path / "raw")
    assert [path.name for path in paths] == ["lcls2017-r070.h5", "lcls2017-r123.h5"]
    assert (tmp_path / "raw/mine.h5").read_bytes() == b"mine"
    with h5py.File(paths[1]) as file:
        assert set(file["run"][:]) == {123}
        assert {dataset.shape for dataset in file.values()} == {(30,)}
    before = paths[0].read_bytes()
    import_data.import_folder("lcls2017", tmp_path / "arrays", tmp_path / "raw")
    assert paths[0].read_bytes() == before


@pytest.mark.parametrize(
    ("format", "folder", "said"),
    [
        ("lcls2018", ".", r"FORMAT: unknown \(found 'lcls2018', expected lcls2017\)"),
        ("lcls2017", "nowhere", "nowhere: missing"),
        ("lcls2017", ".", "not the scalars of LCLS 2017"),
    ],
)
def test_what_cannot_be_imported_is_one_line(tmp_path, format, folder, said):
    with pytest.raises(UserError, match=rf"{said}.*Fix: "):
        import_data.import_folder(format, tmp_path / folder, tmp_path / "raw")
    assert not (tmp_path / "raw").exists()
