import numpy as np
import pytest

from xtcav_ml import images
from xtcav_ml.errors import UserError
from xtcav_ml.params.prepare import BlockMean, Clip, Contrast, Log, RegionOfInterest, SubtractDark

DARK, MEAN, LOG = SubtractDark(step="subtract_dark"), BlockMean(step="block_mean", size=2), Log(step="log")


def frames(count=3, shape=(7, 9), seed=0):
    return np.random.default_rng(seed).integers(0, 4096, (count, *shape)).astype(np.int16)


def test_block_mean_equals_means_of_blocks():
    raw = frames(shape=(6, 8)).astype(np.float32)
    expected = raw.reshape(3, 3, 2, 4, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(images.block_mean(raw, 2), expected, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_block_mean_drops_what_is_left_over_and_keeps_the_level(size):
    flat = np.full((2, 7, 9), 5, np.float32)
    means = images.block_mean(flat, size)
    assert means.shape == (2, 7 // size, 9 // size)
    np.testing.assert_allclose(means, 5)


def test_dark_subtraction_is_exact_below_the_dark_level():
    raw, dark = np.zeros((1, 2, 2), np.int16), np.full((2, 2), 100.5, np.float32)
    assert images.apply(raw, [DARK], dark).tolist() == [[[-100.5] * 2] * 2]


def test_log_clips_at_zero():
    values = images.log(np.array([[[-5.0, 0.0, np.e - 1]]], np.float32))
    np.testing.assert_allclose(values, [[[0, 0, 1]]], rtol=1e-6)


def test_steps_run_in_their_order():
    raw = frames()
    dark = np.zeros((7, 9), np.float32)
    one = images.apply(raw, [DARK, MEAN, LOG], dark)
    other = images.apply(raw, [DARK, LOG, MEAN], dark)
    assert one.shape == other.shape == (3, 3, 4)
    assert one.dtype == np.float32
    assert (one >= other - 1e-5).all()  # Jensen: the log of a mean is not less than the mean of logs
    assert not np.allclose(one, other)


def test_a_shot_does_not_depend_on_its_neighbours():
    raw, dark = frames(4), frames(1)[0].astype(np.float32)
    together = images.apply(raw, [DARK, MEAN, LOG], dark)
    alone = np.concatenate([images.apply(raw[i : i + 1], [DARK, MEAN, LOG], dark) for i in range(4)])
    assert together.tobytes() == alone.tobytes()


def test_output_shape_is_that_of_apply():
    steps = [DARK, MEAN, LOG]
    assert images.output_shape((726, 568), steps) == (363, 284)
    assert images.apply(frames(), steps, np.zeros((7, 9), np.float32)).shape[1:] == images.output_shape((7, 9), steps)


def test_missing_or_misfitting_dark_frame_is_refused():
    for dark in (None, np.zeros((2, 2), np.float32)):
        with pytest.raises(ValueError, match="dark frame must have shape"):
            images.apply(frames(), [DARK], dark)


def test_region_of_interest_is_cut_where_it_stands():
    region = RegionOfInterest(step="roi", rows=(1, 5), columns=(2, 8))
    raw = frames()
    cut = images.apply(raw, [region], None)
    assert cut.tolist() == raw[:, 1:5, 2:8].tolist()
    assert images.output_shape((7, 9), [region, MEAN]) == (2, 3)
    assert images.apply(raw, [region, MEAN], None).shape[1:] == (2, 3)
    with pytest.raises(UserError, match=r"prepare\.images\.1: roi must lie in the frame of 3 x 4"):
        images.output_shape((7, 9), [MEAN, region])


def test_clip_holds_values_between_its_ends():
    clipped = images.apply(frames(), [Clip(step="clip", low=100.0, high=200.0)], None)
    assert (clipped.min(), clipped.max()) == (100, 200)


def test_contrast_makes_frames_alike_and_leaves_flat_ones_flat():
    raw = frames(3).astype(np.float32)
    brighter = np.stack([raw[0], 2 * raw[0] + 50, np.full_like(raw[0], 7)])
    even = images.contrast(brighter, floor=1e-3)
    np.testing.assert_allclose(even[0], even[1], atol=1e-4)
    np.testing.assert_allclose(even.mean(axis=(1, 2)), 0, atol=1e-5)
    assert even[0].std() == pytest.approx(1, rel=1e-5)
    assert (even[2] == 0).all()


def test_contrast_comes_in_the_list(tmp_path):
    step = Contrast(step="contrast", floor=0.1)
    assert images.apply(frames(), [MEAN, step], None).mean() == pytest.approx(0, abs=1e-5)
