import os
import shutil

import numpy as np
import pytest

from xtcav_ml.data import frame_files
from xtcav_ml.data.frame_files import FrameFiles
from xtcav_ml.system.errors import UserError

FRAMES = np.random.default_rng(0).integers(-9, 999, (7, 4, 3)).astype(np.int16)


@pytest.fixture(autouse=True, params=[frame_files.TOGETHER, 24], ids=["one thread", "frame by frame"])
def together(request, monkeypatch):
    monkeypatch.setattr(frame_files, "TOGETHER", request.param)


@pytest.fixture
def pieces(tmp_path):
    """The first two frames in one file, none in the next, the others in the third, each after some bytes."""
    parts = {"a": (FRAMES[:2], 10), "b": (FRAMES[:0], 0), "c": (FRAMES[2:], 6)}
    for name, (frames, offset) in parts.items():
        (tmp_path / name).write_bytes(bytes(offset) + frames.tobytes() + b"end")
    return [(tmp_path / name, offset, len(frames)) for name, (frames, offset) in parts.items()]


def test_frames_of_several_files_come_in_any_order(pieces):
    order = np.array([6, 0, 3, 1, 6, 2])
    files = FrameFiles(pieces, (4, 3), np.dtype(np.int16))
    for _ in range(2):
        found = files.read(np.where(order < 2, 0, 2), np.where(order < 2, order, order - 2))
        assert found.tolist() == FRAMES[order].tolist()
    files.close()


def test_a_file_that_is_missing_short_or_a_folder_is_one_line(pieces, tmp_path):
    path, offset, count = pieces[2]
    for change, found in (
        (lambda: path.write_bytes(path.read_bytes()[:-4]), "cut short"),
        (path.unlink, "No such file"),
        (path.mkdir, "cut short|directory"),
    ):
        change()
        with pytest.raises(UserError, match=rf"{path}: .*({found}).*Fix: "):
            FrameFiles([pieces[0], (path, offset + 5000 * path.is_dir(), count)], (4, 3), np.dtype(np.int16))


def test_many_files_take_few_descriptors_and_give_the_frames_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setattr(frame_files, "MOST_OPEN", 3)
    pieces = []
    for number in range(9):
        path = tmp_path / str(number)
        path.write_bytes(np.full((2, 4, 3), number, np.int16).tobytes())
        pieces.append((path, 0, 2))
    before = len(os.listdir("/proc/self/fd"))
    files = FrameFiles(pieces, (4, 3), np.dtype(np.int16))
    order = np.random.default_rng(0).integers(0, 9, 50)
    for _ in range(2):
        assert (files.read(order, order % 2) == order[:, np.newaxis, np.newaxis]).all()
        assert len(os.listdir("/proc/self/fd")) <= before + 3
    shutil.copyfile(pieces[0][0], tmp_path / "other")  # the same bytes, but nobody compares them again
    (tmp_path / "other").replace(pieces[0][0])
    with pytest.raises(UserError, match=r"/0: changed while it was read .* Fix: "):
        files.read(np.arange(9), np.zeros(9, np.int64))
    with pytest.raises(UserError, match=r"/0: changed while it was read"):  # and so it stays
        files.read(np.zeros(1, np.int64), np.zeros(1, np.int64))
    files.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_is_cut_short_while_it_is_read_is_one_line(pieces):
    path = pieces[2][0]
    files = FrameFiles(pieces, (4, 3), np.dtype(np.int16))
    files.read(np.array([2]), np.array([0]))
    os.truncate(path, 6 + 4 * 24 + 5)  # by someone else: four whole frames and a part of the fifth
    assert files.read(np.full(4, 2), np.arange(4)).tolist() == FRAMES[2:6].tolist()
    with pytest.raises(UserError, match=rf"{path}: cut short \(found 107 bytes, expected at least 126\)\. Fix: "):
        files.read(np.array([0, 2]), np.array([0, 4]))
    files.close()
