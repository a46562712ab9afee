"""Data in other files, where params.yaml lets raw files refer to them: all of each part, in the folder, as it was."""

import os

import h5py
import numpy as np
import pytest

from tests.conftest import SHAPE
from xtcav_ml.config.layout import Layout
from xtcav_ml.config.schema import IMAGE, Dataset
from xtcav_ml.data.raw_dataset import Folder
from xtcav_ml.data.raw_file import file_problems
from xtcav_ml.data.raw_frames import RawFrames
from xtcav_ml.system.errors import UserError

FOLLOW = Layout(references="follow")
FRAMES = {IMAGE: Dataset("int16", SHAPE, "")}
VALUES = np.arange(4 * SHAPE[0] * SHAPE[1], dtype=np.int16).reshape(4, *SHAPE)


def write_part(path, values=VALUES, **how):
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=values, **how)


def write_virtual(path, parts, shape=VALUES.shape, dtype="i2"):
    """Write a file whose frames are, from a row on, those of other files."""
    layout = h5py.VirtualLayout(shape, dtype)
    for name, first, count in parts:
        layout[first : first + count] = h5py.VirtualSource(name, "data", (count, *SHAPE))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset(IMAGE, layout)
    return path


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "raw").mkdir()
    write_part(tmp_path / "raw/parts/a.h5", VALUES[:2])
    write_part(tmp_path / "raw/parts/b.h5", VALUES[2:])
    write_part(tmp_path / "outside.h5")
    return tmp_path / "raw"


PARTS = [("parts/a.h5", 0, 2), ("parts/b.h5", 2, 2)]


def problem(path, root):
    (line,) = file_problems(path, FRAMES, Folder(root, FOLLOW))
    assert line.startswith(f"{path}: {IMAGE}: ")
    assert line.count(". Fix: ") == 1
    return line


def test_all_parts_give_the_frames(folder):
    path = write_virtual(folder / "master.h5", PARTS)
    assert file_problems(path, FRAMES, Folder(folder, FOLLOW)) == []
    with RawFrames(path, folder=Folder(folder, FOLLOW)) as frames:
        np.testing.assert_array_equal(frames.read(np.arange(4)), VALUES)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (PARTS[:1], "parts do not cover it"),
        ([PARTS[0], ("parts/b.h5", 1, 2)], "parts do not cover it"),
        ([PARTS[0], ("parts/a.h5", 0, 2)], "parts do not cover it"),
        ([PARTS[0], ("parts/c.h5", 2, 2)], "a part is missing"),
        ([PARTS[0], ("../outside.h5", 2, 2)], "stored outside the folder"),
        ([PARTS[0], ("link.h5", 2, 2)], "stored outside the folder"),
        ([PARTS[0], ("parts", 2, 2)], "a part is missing"),
        ([PARTS[0], ("pipe", 2, 2)], "a part is missing"),
    ],
)
def test_parts_that_are_not_all_in_the_folder_are_refused(folder, parts, said):
    (folder / "link.h5").symlink_to(folder.parent / "outside.h5")
    os.mkfifo(folder / "pipe")
    path = write_virtual(folder / "master.h5", parts)
    assert said in problem(path, folder)


@pytest.mark.parametrize(
    ("values", "how", "said"),
    [
        (VALUES[:1], {}, "a part has another shape"),
        (VALUES[:2, :, :5], {}, "a part has another shape"),
        (VALUES[:2].astype(np.int32), {}, "a part is of another type"),
        (VALUES[:2].astype(np.float32), {}, "a part is of another type"),
    ],
)
def test_parts_that_do_not_hold_what_is_taken_from_them_are_refused(folder, values, how, said):
    write_part(folder / "parts/b.h5", values, **how)
    assert said in problem(write_virtual(folder / "master.h5", PARTS), folder)


def test_a_part_that_was_not_written_or_refers_on_is_refused(folder):
    path = write_virtual(folder / "master.h5", PARTS)
    with h5py.File(folder / "parts/b.h5", "w") as file:
        file.create_dataset("data", (2, *SHAPE), "i2", chunks=(1, *SHAPE))
    assert "not wholly written (found 2 of 2 rows unwritten" in problem(path, folder)
    layout = h5py.VirtualLayout((2, *SHAPE), "i2")
    layout[:] = h5py.VirtualSource("a.h5", "data", (2, *SHAPE))
    with h5py.File(folder / "parts/b.h5", "w") as file:
        file.create_virtual_dataset("data", layout)
    assert "a part refers to other files again" in problem(path, folder)
    (folder / "parts/b.h5").write_bytes(b"torn")
    (line,) = file_problems(path, FRAMES, Folder(folder, FOLLOW))
    assert "parts/b.h5: not a readable HDF5 file" in line


@pytest.mark.parametrize("size", [VALUES.nbytes, VALUES.nbytes - 1, 0])
def test_bytes_in_another_file_must_be_all_there(folder, size, monkeypatch):
    (folder / "frames.bin").write_bytes(VALUES.tobytes()[:size])
    with h5py.File(folder / "master.h5", "w") as file:
        file.create_dataset(IMAGE, VALUES.shape, "i2", external=[("frames.bin", 0, h5py.h5f.UNLIMITED)])
    monkeypatch.chdir(folder.parent)  # the name is from the file on, not from here
    if size < VALUES.nbytes:
        assert "a part is too short" in problem(folder / "master.h5", folder)
        return
    with RawFrames(folder / "master.h5", folder=Folder(folder, FOLLOW)) as frames:
        np.testing.assert_array_equal(frames.read(np.arange(4)), VALUES)


@pytest.mark.parametrize("when", ["after the check", "between the frames"])
def test_a_part_that_changes_is_refused(folder, when):
    path, follow = write_virtual(folder / "master.h5", PARTS), Folder(folder, FOLLOW)
    assert file_problems(path, FRAMES, follow) == []
    write_part(folder / "new.h5", VALUES[:2])
    if when == "after the check":
        (folder / "new.h5").rename(folder / "parts/b.h5")
    with (
        pytest.raises(UserError, match=r"parts/b\.h5: changed while it was read"),
        RawFrames(path, folder=follow) as frames,
    ):
        frames.read(np.array([0]))
        (folder / "new.h5").rename(folder / "parts/b.h5")
        frames.read(np.array([3]))


def test_no_variable_leads_elsewhere(folder, monkeypatch):
    path = write_virtual(folder / "master.h5", PARTS)
    monkeypatch.setenv("HDF5_VDS_PREFIX", "/elsewhere")
    assert "Fix: unset HDF5_VDS_PREFIX" in problem(path, folder)


def test_nothing_is_followed_unless_the_layout_allows_it(folder):
    path = write_virtual(folder / "master.h5", PARTS)
    (line,) = file_problems(path, FRAMES, Folder(folder))
    assert "stored in another file (found parts/a.h5, parts/b.h5, expected" in line
