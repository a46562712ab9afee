import h5py
import numpy as np
import pytest

from tests.conftest import write_prepared_file
from xtcav_ml.config.prepare import Pixels
from xtcav_ml.data.hdf5 import creating
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.system.errors import UserError

RAW = np.random.default_rng(0).integers(90, 400, (7, 6, 8)).astype(np.int16)
NUMBERS = {"acq.t1.pos": np.array([1.5, np.nan, 2, 3, 4, 5, 6])}
FEATURES = {"bld.L3energy": np.linspace(3990, 4010, 7)}


def write(path, **how):
    return write_prepared_file(path, RAW, np.arange(7) % 2, regression=NUMBERS, features=FEATURES, **how)


def test_what_is_written_is_read_back_with_its_meaning(tmp_path):
    with PreparedFile(write(tmp_path / "train.h5")) as file:
        spec, preprocessing = file.spec, file.spec.preprocessing
        assert (file.shots, file.frame_shape, file.classes) == (7, (3, 4), ("no", "yes"))
        assert (spec.label, spec.regression, spec.features) == ("side", ("acq.t1.pos",), ("bld.L3energy",))
        assert [step.step for step in preprocessing.steps] == ["subtract_dark", "block_mean", "log"]
        assert preprocessing.raw_shape == (6, 8)
        assert preprocessing.dark.mean.tolist() == np.full((6, 8), 100).tolist()
        assert file.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
        np.testing.assert_array_equal(file.targets[:, 0], NUMBERS["acq.t1.pos"].astype(np.float32))
        np.testing.assert_array_equal(file.features[:, 0], FEATURES["bld.L3energy"].astype(np.float32))
        assert file.source_files == ["a.h5", "b.h5"]
        assert file.column("source.row").tolist() == list(range(7))
        rows = np.array([5, 0, 5])
        assert file.stored(rows).tolist() == preprocessing.prepare(RAW[rows]).tolist()


@pytest.mark.parametrize(
    ("pixels", "tolerance"),
    [
        (Pixels(dtype="int16", quantum=0.0005), 0.00026),
        (Pixels(dtype="float16", quantum=None), 0.003),
        (Pixels(dtype="float32", quantum=None), 1e-6),
    ],
)
def test_images_keep_their_values_within_what_the_type_can_hold(tmp_path, pixels, tolerance):
    with PreparedFile(write(tmp_path / "train.h5", pixels=pixels)) as file:
        exact = np.log1p(np.maximum(RAW.reshape(7, 3, 2, 4, 2).mean(axis=(2, 4)) - 100, 0))
        images = file.images(np.arange(7))
        assert images.dtype == np.float32
        np.testing.assert_allclose(images, exact, atol=tolerance)


def test_mean_and_spread_of_each_pixel_are_those_of_the_stored_images(tmp_path):
    with PreparedFile(write(tmp_path / "train.h5")) as file:
        images = file.images(np.arange(7)).astype(np.float64)
        np.testing.assert_allclose(file.pixel_mean, images.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(file.pixel_sd, images.std(axis=0), rtol=1e-4, atol=1e-6)


def test_same_content_same_bytes(tmp_path):
    assert write(tmp_path / "a.h5").read_bytes() == write(tmp_path / "b.h5").read_bytes()


def test_too_few_frames_leave_the_old_file(tmp_path):
    old = write(tmp_path / "train.h5").read_bytes()
    with pytest.raises(ValueError, match="expected 7 frames"):
        write(tmp_path / "train.h5", frames_written=3)
    assert (tmp_path / "train.h5").read_bytes() == old


def test_any_flipped_bit_of_an_image_is_found(tmp_path):
    path = write(tmp_path / "train.h5")
    with h5py.File(path) as file:
        start, size = file["image"].id.get_offset(), file["image"].nbytes
    content = path.read_bytes()
    choose = np.random.default_rng(1)
    for place, bit in zip(choose.integers(start, start + size, 40), choose.integers(0, 8, 40), strict=True):
        broken = bytearray(content)
        broken[place] ^= 1 << bit
        path.write_bytes(broken)
        row = (place - start) // (size // 7)
        with PreparedFile(path) as file:
            others = np.delete(np.arange(7), row)
            assert file.images(others).shape == (6, 3, 4)
            with pytest.raises(UserError, match=rf"train\.h5: image: .* in row {row}, expected \d+\)\. Fix: "):
                file.images(np.array([row]))


def test_a_flipped_bit_of_a_column_is_found(tmp_path):
    path = write(tmp_path / "train.h5")
    with h5py.File(path) as file:
        start = file["label"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[start] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"train\.h5: damaged"):
        PreparedFile(path)


def test_missing_unfinished_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"train\.h5: missing .*\. Fix: run `make repro`"):
        PreparedFile(tmp_path / "train.h5")
    path = write(tmp_path / "train.h5")
    with h5py.File(path, "r+") as file:
        del file.attrs["complete"]
    with pytest.raises(UserError, match=r"train\.h5: damaged"):
        PreparedFile(path)
    with creating(path, sealed=True) as file:
        file.attrs["classes"] = "[]"
    with pytest.raises(UserError, match=r"`xtcav prepare` .*no 'meaning'"):
        PreparedFile(path)
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"train\.h5: damaged"):
        PreparedFile(path)
