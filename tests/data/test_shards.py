import numpy as np
import pytest

from xtcav_ml.data import shards
from xtcav_ml.data.shards import FrameBlock
from xtcav_ml.science.images import Dark
from xtcav_ml.system.errors import UserError

FRAMES = np.random.default_rng(0).integers(-9, 999, (5, 4, 3)).astype(np.int16)
ROWS = np.array([0, 2, 3, 7, 8])
DARK = Dark(np.full((4, 3), 100, np.float32), np.ones((4, 3), np.float32))


def write(path, frames=FRAMES):
    numbers = np.arange(len(frames))
    blocks = [FrameBlock.of(frames[part], numbers[part], 0.5 * numbers[part]) for part in (slice(0, 3), slice(3, None))]
    shards.write_shard(path, ROWS, (4, 3), "int16", blocks)
    return path


def test_a_shard_knows_where_its_frames_begin_and_whose_they_are(tmp_path):
    path = write(tmp_path / "sub/a.h5")
    shard = shards.read_shard(path)
    content = path.read_bytes()[shard.offset : shard.offset + FRAMES.nbytes]
    assert np.frombuffer(content, np.int16).reshape(FRAMES.shape).tolist() == FRAMES.tolist()
    assert shard.rows.tolist() == ROWS.tolist()
    assert shard.columns["frame.signal"].tolist() == [0, 0.5, 1, 1.5, 2]


def test_too_few_frames_leave_no_shard(tmp_path):
    with pytest.raises(ValueError, match="expected 5 frames, got 4"):
        write(tmp_path / "a.h5", FRAMES[:4])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [0, 100, -1])
def test_what_is_cut_short_or_missing_is_no_shard(tmp_path, size):
    path = write(tmp_path / "a.h5")
    path.write_bytes(path.read_bytes()[:size])
    assert shards.read_shard(path) is None
    assert shards.read_shard(tmp_path / "none.h5") is None


def test_a_flipped_bit_outside_the_frames_makes_it_none(tmp_path):
    path = write(tmp_path / "a.h5")
    content, shard = path.read_bytes(), shards.read_shard(path)
    inside = range(shard.offset, shard.offset + FRAMES.nbytes)
    for place in np.random.default_rng(1).integers(0, len(content), 60).tolist():
        broken = bytearray(content)
        broken[place] ^= 1
        path.write_bytes(broken)
        assert (shards.read_shard(path) is not None) == (place in inside), place  # frames have checksums of their own


def test_the_dark_frame_is_read_back_or_that_there_is_none(tmp_path):
    shards.write_dark(tmp_path / "dark.h5", DARK)
    assert shards.read_dark(tmp_path / "dark.h5").mean.tolist() == DARK.mean.tolist()
    shards.write_dark(tmp_path / "none.h5", None)
    assert shards.read_dark(tmp_path / "none.h5") is None
    with pytest.raises(UserError, match=r"missing.* Fix: run `dvc repro prepare`"):
        shards.read_dark(tmp_path / "other.h5")
