import subprocess
import sys

import h5py
import numpy as np
import pytest

from xtcav_ml.data.hdf5 import COMPLETE, create_rows, creating, reading
from xtcav_ml.system.errors import UserError


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


FILL_THE_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from xtcav_ml.system.errors import UserError
from xtcav_ml.data.hdf5 import create_rows, creating

limit, path = int(sys.argv[1]), Path(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    with creating(path) as file:
        for name in ("a", "b"):
            create_rows(file, name, 20, (30, 40), "i2")[:] = np.ones((20, 30, 40))
            file.create_dataset(name + ".piece", data=np.arange(20_000))
            file.attrs[name] = "x" * 1000
except UserError as error:
    print(error)
    sys.exit(1)
"""
"""Writes 440 kB under a limit of the size of a file, which HDF5 takes as a full disk."""


@pytest.mark.parametrize("limit", [0, 1, 100, 3000, 47_000, 100_000, 250_000, 400_000])
def test_a_full_disk_is_one_line_and_leaves_the_old_file_and_no_crash(tmp_path, limit):
    write(tmp_path / "a.h5")
    old = (tmp_path / "a.h5").read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", FILL_THE_DISK, str(limit), tmp_path / "a.h5"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done  # a crash of the interpreter would be negative
    assert "found 'File too large', expected room on its disk" in done.stdout
    assert not done.stderr
    assert (tmp_path / "a.h5").read_bytes() == old
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_a_long_loop_can_ask_whether_the_disk_is_full(tmp_path):
    with pytest.raises(UserError, match="room on its disk"), creating(tmp_path / "a.h5") as file:
        file._disk.failure = OSError(28, "No space left on device")
        file.check()


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), creating(tmp_path / "a.h5") as file:
        file["x"] = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    write(tmp_path / "a.h5")
    with pytest.raises(UserError, match=r"a\.h5: changed while it was read"), reading(tmp_path / "a.h5"):
        (tmp_path / "a.h5").touch()


def test_a_file_that_is_replaced_while_it_is_read_is_refused(tmp_path):
    write(tmp_path / "a.h5")
    with pytest.raises(UserError, match="changed while it was read"), reading(tmp_path / "a.h5"):
        write(tmp_path / "b.h5")
        (tmp_path / "b.h5").replace(tmp_path / "a.h5")
