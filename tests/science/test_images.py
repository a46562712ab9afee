import numpy as np
import pytest

from xtcav_ml.config.prepare import (
    BlockMean,
    Clip,
    Contrast,
    Log,
    MendHotPixels,
    Pixels,
    RegionOfInterest,
    SubtractDark,
)
from xtcav_ml.science import images
from xtcav_ml.system.errors import UserError

DARK, MEAN, LOG = SubtractDark(step="subtract_dark"), BlockMean(step="block_mean", size=2), Log(step="log")


INT16 = Pixels(dtype="int16", quantum=0.0005)


def flat(level, shape=(7, 9)):
    return images.Dark(np.full(shape, level, np.float32), np.zeros(shape, np.float32))


def frames(count=3, shape=(7, 9), seed=0):
    return np.random.default_rng(seed).integers(0, 4096, (count, *shape)).astype(np.int16)


def apply(raw, steps, dark):
    for function in images.functions(steps, dark):
        raw = function(raw)
    return raw


def test_block_mean_equals_means_of_blocks():
    raw = frames(shape=(6, 8)).astype(np.float32)
    expected = raw.reshape(3, 3, 2, 4, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(images.block_mean(raw, 2), expected, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_block_mean_drops_what_is_left_over_and_keeps_the_level(size):
    even = np.full((2, 7, 9), 5, np.float32)
    means = images.block_mean(even, size)
    assert means.shape == (2, 7 // size, 9 // size)
    np.testing.assert_allclose(means, 5)


def test_dark_subtraction_is_exact_below_the_dark_level():
    raw, dark = np.zeros((1, 2, 2), np.int16), flat(100.5, (2, 2))
    assert apply(raw, [DARK], dark).tolist() == [[[-100.5] * 2] * 2]


def test_log_clips_at_zero():
    values = images.log(np.array([[[-5.0, 0.0, np.e - 1]]], np.float32))
    np.testing.assert_allclose(values, [[[0, 0, 1]]], rtol=1e-6)


def test_steps_run_in_their_order():
    raw = frames()
    dark = flat(0)
    one = apply(raw, [DARK, MEAN, LOG], dark)
    other = apply(raw, [DARK, LOG, MEAN], dark)
    assert one.shape == other.shape == (3, 3, 4)
    assert one.dtype == np.float32
    assert (one >= other - 1e-5).all()  # Jensen: the log of a mean is not less than the mean of logs
    assert not np.allclose(one, other)


def test_a_shot_does_not_depend_on_its_neighbours():
    raw, dark = frames(4), images.Dark(*frames(2).astype(np.float32))
    together = apply(raw, [DARK, MEAN, LOG], dark)
    alone = np.concatenate([apply(raw[i : i + 1], [DARK, MEAN, LOG], dark) for i in range(4)])
    assert together.tobytes() == alone.tobytes()


def test_output_shape_is_that_of_the_steps():
    steps = [DARK, MEAN, LOG]
    assert images.output_shape((726, 568), steps) == (363, 284)
    assert apply(frames(), steps, flat(0)).shape[1:] == images.output_shape((7, 9), steps)


def test_missing_or_misfitting_dark_frame_is_refused():
    with pytest.raises(ValueError, match="needs the dark frame"):
        apply(frames(), [DARK], None)
    with pytest.raises(ValueError, match="dark frame must have shape"):
        apply(frames(), [DARK], flat(0, (2, 2)))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_fast_order_of_subtraction_and_mean_is_the_stated_one_and_exact(size):
    raw = np.random.default_rng(3).integers(-32768, 32767, (4, 7, 9)).astype(np.int16)
    dark = images.Dark(*np.random.default_rng(4).normal(100, 3, (2, 7, 9)).astype(np.float32))
    rows, columns = 7 // size, 9 // size
    cut = (raw - dark.mean.astype(np.float64))[:, : rows * size, : columns * size]
    exact = cut.reshape(4, rows, size, columns, size).mean(axis=(2, 4))
    fast = apply(raw, [DARK, BlockMean(step="block_mean", size=size)], dark)
    np.testing.assert_allclose(fast, exact, rtol=1e-6, atol=2e-3)


def test_sums_of_bright_pixels_do_not_overflow():
    raw = np.full((1, 4, 4), 32767, np.int16)
    assert (images.block_mean(raw, 4) == 32767).all()


def test_dark_frame_is_mean_and_noise():
    shots = np.random.default_rng(0).normal(100, 5, (400, 3, 4))
    dark = images.dark_of(400, shots.sum(axis=0), np.square(shots).sum(axis=0))
    np.testing.assert_allclose(dark.mean, shots.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(dark.noise, shots.std(axis=0), rtol=1e-5)


def test_hot_pixels_are_found_by_level_and_by_noise_and_mended():
    rng = np.random.default_rng(0)
    dark = images.Dark(*rng.normal([[[100]], [[3]]], [[[2]], [[0.2]]], (2, 20, 30)).astype(np.float32))
    dark.mean[3, 4] += 500
    dark.mean[0, 0] += 500
    dark.noise[10, 20] = 90
    hot = dark.hot(10)
    assert [*map(tuple, np.argwhere(hot))] == [(0, 0), (3, 4), (10, 20)]
    raw = rng.integers(90, 110, (2, 20, 30)).astype(np.int16)
    mended = apply(raw, [MendHotPixels(step="mend_hot_pixels", threshold=10)], dark)
    around = raw[:, 2:5, 3:6].sum(axis=(1, 2)) - raw[:, 3, 4]
    np.testing.assert_allclose(mended[:, 3, 4], around / 8, rtol=1e-6)
    np.testing.assert_allclose(mended[:, 0, 0], (raw[:, 0, 1] + raw[:, 1, 0] + raw[:, 1, 1]) / 3, rtol=1e-6)
    assert (mended[:, ~hot] == raw[:, ~hot]).all()


def test_a_hot_pixel_does_not_mend_its_neighbour_with_itself():
    bad = np.zeros((5, 5), bool)
    bad[2, 1:4] = True
    frame = np.where(bad, 1000, 7).astype(np.float32)[np.newaxis]
    np.testing.assert_allclose(images.mend(frame, images.Neighbours.of(bad)), 7, rtol=1e-6)
    assert (images.mend(frame, images.Neighbours.of(np.ones((5, 5), bool))) == frame).all()  # nothing good to mend with


def test_a_stored_frame_is_the_nearest_that_its_type_holds():
    steps, shape = (DARK, MEAN, LOG), (8, 10)
    raw, dark = frames(5, shape), flat(100, shape)
    exact = apply(raw, steps, dark)
    for pixels, error in ((INT16, 0.00025), (Pixels(dtype="float32", quantum=None), 0)):
        preprocessing = images.Preprocessing(steps, pixels, shape, dark)
        stored = preprocessing.prepare(raw)
        assert stored.dtype == pixels.dtype
        assert np.abs(preprocessing.floats(stored) - exact).max() <= error + 1e-6
        assert preprocessing.clipped(stored) == 0


def test_what_int16_cannot_hold_is_cut_off_and_counted():
    preprocessing = images.Preprocessing((DARK,), Pixels(dtype="int16", quantum=0.01), (2, 2), flat(0, (2, 2)))
    raw = np.array([[[100, 4000], [-4000, 0]]], np.int16)
    stored = preprocessing.prepare(raw)
    assert stored.tolist() == [[[10000, 32767], [-32768, 0]]]
    assert preprocessing.clipped(stored) == 2


def test_frames_of_another_shape_or_type_are_refused():
    preprocessing = images.Preprocessing((DARK, LOG), INT16, (7, 9), flat(100))
    for wrong in (frames(shape=(9, 7)), frames().astype(np.float64), frames().astype(np.uint16)):
        with pytest.raises(ValueError, match="frames must be"):
            preprocessing.prepare(wrong)


def test_saturated_pixels_and_missing_beams_are_seen():
    raw = np.full((3, 40, 50), 100, np.int16)
    raw[1, 5:8, :10] = 4095
    raw[2, 8:24, 10:30] += 50
    assert images.saturated_pixels(raw, 4095).tolist() == [0, 30, 0]
    assert images.signal(raw, flat(100, (40, 50)))[0] == 0
    assert images.signal(raw, flat(100, (40, 50)))[2] == pytest.approx(50 * 0.4 * 0.4)


def test_region_of_interest_is_cut_where_it_stands():
    region = RegionOfInterest(step="roi", rows=(1, 5), columns=(2, 8))
    raw = frames()
    cut = apply(raw, [region], None)
    assert cut.tolist() == raw[:, 1:5, 2:8].tolist()
    assert images.output_shape((7, 9), [region, MEAN]) == (2, 3)
    assert apply(raw, [region, MEAN], None).shape[1:] == (2, 3)
    with pytest.raises(UserError, match=r"prepare\.images\.1: roi .*expected at most 3 x 4"):
        images.output_shape((7, 9), [MEAN, region])


def test_clip_holds_values_between_its_ends():
    clipped = apply(frames(), [Clip(step="clip", low=100.0, high=200.0)], None)
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
    assert apply(frames(), [MEAN, step], None).mean() == pytest.approx(0, abs=1e-5)
