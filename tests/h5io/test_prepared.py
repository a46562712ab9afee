import h5py
import numpy as np
import pytest

from xtcav_ml.errors import UserError
from xtcav_ml.h5io.prepared import Meaning, PreparedFile, write_prepared
from xtcav_ml.params.prepare import BlockMean, Log, SubtractDark

STEPS = (SubtractDark(step="subtract_dark"), BlockMean(step="block_mean", size=2), Log(step="log"))
IMAGES = np.random.default_rng(0).random((7, 3, 4)).astype(np.float32)


def write(path, images=IMAGES, dtype="float16"):
    shots = len(images)
    columns = {"label": np.arange(shots) % 2, "run": np.full(shots, 70), "run.index": np.arange(shots)}
    columns |= {f"evt.{name}": np.arange(shots) for name in ("seconds", "nanoseconds", "fiducials")}
    meaning = Meaning("acq.peaksLabel", ("no", "yes"), STEPS, (6, 8), np.ones((6, 8), np.float32))
    blocks = (images[i : i + 2] for i in range(0, shots, 2))
    sources = (["a.h5", "b.h5"], np.arange(shots) % 2, np.arange(shots))
    write_prepared(path, meaning, columns, sources, blocks, frame_shape=(3, 4), dtype=dtype)
    return path


def test_what_is_written_is_read_back_with_its_meaning(tmp_path):
    with PreparedFile(write(tmp_path / "train.h5")) as file:
        assert (file.shots, file.frame_shape, file.classes) == (7, (3, 4), ("no", "yes"))
        assert file.meaning.steps == STEPS
        assert file.meaning.raw_shape == (6, 8)
        assert file.meaning.dark is not None
        assert file.meaning.dark.shape == (6, 8)
        assert file.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
        assert file.source_files == ["a.h5", "b.h5"]
        assert file.column("source.row").tolist() == list(range(7))
        rows = np.array([5, 0, 5])
        assert file.images(rows).tolist() == IMAGES[rows].astype(np.float16).tolist()


def test_mean_and_spread_are_those_of_the_stored_pixels(tmp_path):
    with PreparedFile(write(tmp_path / "train.h5")) as file:
        stored = IMAGES.astype(np.float16).astype(float)
        assert file.pixel_mean == pytest.approx(stored.mean(), rel=1e-12)
        assert file.pixel_sd == pytest.approx(stored.std(), rel=1e-9)


def test_same_content_same_bytes(tmp_path):
    assert write(tmp_path / "a.h5").read_bytes() == write(tmp_path / "b.h5").read_bytes()


def test_too_few_frames_leave_the_old_file(tmp_path):
    old = write(tmp_path / "train.h5").read_bytes()
    with pytest.raises(ValueError, match="expected 7 frames"):
        write_prepared(
            tmp_path / "train.h5",
            Meaning("x", ("a", "b"), STEPS, (6, 8), None),
            {"label": np.zeros(7)},
            ([], np.zeros(7, int), np.zeros(7, int)),
            [IMAGES[:3]],
            frame_shape=(3, 4),
            dtype="float16",
        )
    assert (tmp_path / "train.h5").read_bytes() == old
    assert len(list(tmp_path.iterdir())) == 1


def test_missing_unfinished_and_torn_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="is missing; run `make repro`"):
        PreparedFile(tmp_path / "train.h5")
    path = write(tmp_path / "train.h5")
    with h5py.File(path, "r+") as file:
        del file.attrs["complete"]
    with pytest.raises(UserError, match="must be complete"):
        PreparedFile(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match="readable HDF5"):
        PreparedFile(path)
