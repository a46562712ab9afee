"""The sums beside those of numpy, over all patches one by one."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from xtcav_ml.learning import operations
from xtcav_ml.learning.conv_pool import Geometry
from xtcav_ml.learning.jobs import MOMENTS

STATISTICS = np.array([120.5, 33.25], np.float32)


def moments(frames, kernel, padding, threads):
    import tensorflow as tf

    geometry = Geometry.of(frames.shape[1:], 1, kernel, (1, 1), (1, 1), (1, 1), padding)
    (found,) = operations.call(
        MOMENTS, tf.constant(frames), tf.constant(STATISTICS), geometry=geometry, threads=threads
    )
    return geometry, np.asarray(found)


def by_numpy(frames, kernel, geometry):
    """Return the same from all patches as rows of a matrix."""
    pixels = (frames[..., 0].astype(np.float64) - STATISTICS[0]) / STATISTICS[1]
    sides = []
    for before, length, map_length, size in (
        (geometry.above, geometry.height, geometry.rows, kernel[0]),
        (geometry.left, geometry.width, geometry.columns, kernel[1]),
    ):
        sides.append((before, map_length + size - 1 - length - before))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(pixels, [(0, 0), *sides]), kernel, axis=(1, 2))
    patches = windows.reshape(-1, kernel[0] * kernel[1])
    return np.concatenate([patches.sum(axis=0)[np.newaxis], patches.T @ patches])


@settings(max_examples=max(1, settings().max_examples // 2))
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 30), st.integers(1, 40)),
    st.tuples(st.integers(1, 17), st.integers(1, 30)),
    st.sampled_from(["same", "valid"]),
    st.sampled_from(["int16", "float32"]),
    st.integers(1, 3),
)
def test_the_sums_are_those_of_all_patches(keras_ready, shape, kernel, padding, dtype, threads):
    assume(padding == "same" or (kernel[0] <= shape[1] and kernel[1] <= shape[2]))
    frames = np.random.default_rng(0).integers(0, 400, (*shape, 1)).astype(dtype)
    geometry, found = moments(frames, kernel, padding, threads)
    expected = by_numpy(frames, kernel, geometry)
    found = found.reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))
    assert (found[1:] == found[1:].T).all()


def test_same_bits_for_any_number_of_threads(keras_ready):
    frames = np.random.default_rng(0).integers(0, 400, (5, 30, 40, 1)).astype(np.int16)
    one, *others = (moments(frames, (8, 8), "same", threads)[1].tobytes() for threads in (1, 2, 3, 7))
    assert set(others) == {one}
