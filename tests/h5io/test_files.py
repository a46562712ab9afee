import h5py
import numpy as np
import pytest

from xtcav_ml.errors import UserError
from xtcav_ml.h5io.files import COMPLETE, create_rows, creating, reading


def write(path):
    with creating(path) as file:
        create_rows(file, "image", 3, (4, 5), "i2")[:] = np.arange(60).reshape(3, 4, 5)
        create_rows(file, "scalar", 3, (), "f8")[:] = 1


def test_a_file_is_whole_marked_and_the_same_bytes(tmp_path):
    for name in ("a.h5", "b.h5"):
        write(tmp_path / name)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs[COMPLETE]
        assert file["image"].fletcher32
        assert file["image"].chunks == (1, 4, 5)


def test_no_rows_are_no_error(tmp_path):
    with creating(tmp_path / "a.h5") as file:
        create_rows(file, "image", 0, (4, 5), "i2")
        create_rows(file, "scalar", 0, (), "f8")


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), creating(tmp_path / "a.h5") as file:
        file["x"] = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    write(tmp_path / "a.h5")
    with pytest.raises(UserError, match=r"a\.h5: must not change while it is read"), reading(tmp_path / "a.h5"):
        (tmp_path / "a.h5").touch()


def test_a_file_that_is_replaced_while_it_is_read_is_refused(tmp_path):
    write(tmp_path / "a.h5")
    with pytest.raises(UserError, match="must not change"), reading(tmp_path / "a.h5"):
        write(tmp_path / "b.h5")
        (tmp_path / "b.h5").replace(tmp_path / "a.h5")
