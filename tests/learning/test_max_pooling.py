"""Against pooling and correlation written out window by window."""

import numpy as np
import pytest

from xtcav_ml.learning import max_pooling

SIZES = [(7, 9, 3, 2), (12, 5, 4, 4), (6, 6, 2, 3), (10, 11, 13, 10), (5, 4, 1, 1)]


def windows(rows, columns, window, stride):
    high, above, _ = max_pooling.same_padding(rows, window, stride)
    wide, left, _ = max_pooling.same_padding(columns, window, stride)
    for i in range(high):
        for j in range(wide):
            top, begin = i * stride - above, j * stride - left
            yield i, j, slice(max(top, 0), top + window), slice(max(begin, 0), min(begin + window, columns))


@pytest.mark.parametrize(("length", "window", "stride"), [(7, 3, 2), (726, 13, 10), (6, 2, 3), (9, 1, 1)])
def test_padding_is_tensorflow_s_same(length, window, stride):
    made, before, after = max_pooling.same_padding(length, window, stride)
    assert made == -(-length // stride)
    assert 0 <= after - before <= 1
    assert (made - 1) * stride + window <= length + before + after


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("rows", "columns", "window", "stride"), SIZES)
def test_maxima_are_those_of_each_window_and_places_point_at_them(rows, columns, window, stride, threads):
    pitch = columns + 2
    maps = np.random.default_rng(0).normal(size=(3, rows, pitch, 2)).astype(np.float32)
    maps[:, :, columns:] = np.inf  # beyond the last column, never looked at
    best, places = max_pooling.max_pool(maps, columns, window, stride, threads)
    for i, j, down, across in windows(rows, columns, window, stride):
        np.testing.assert_array_equal(best[:, i, j], maps[:, down, across].max(axis=(1, 2)))
    flat = maps[:, :, :columns].reshape(3, rows * columns, 2)
    found = np.take_along_axis(flat, places.reshape(3, -1, 2).astype(np.int64), axis=1)
    np.testing.assert_array_equal(found.reshape(best.shape), best)


def test_of_equal_maxima_the_first_counts():
    maps = np.zeros((1, 4, 4, 1), np.float32)
    maps[0, [3, 1, 2], [1, 2, 1]] = 5
    _, places = max_pooling.max_pool(maps, 4, 4, 4, 1)
    assert places.item() == 2 * 4 + 1
    _, places = max_pooling.max_pool(np.ones((1, 4, 4, 1), np.float32), 4, 4, 4, 1)
    assert places.item() == 0


@pytest.mark.parametrize(("columns", "window", "stride"), [(5, 2, 1), (0, 2, 1), (4, 0, 1), (4, 2, 0)])
def test_what_would_read_other_memory_is_refused_by_pooling(columns, window, stride):
    with pytest.raises(ValueError, match="expected at least 1, columns at most 4"):
        max_pooling.max_pool(np.zeros((1, 4, 4, 1), np.float32), columns, window, stride, 1)


@pytest.mark.parametrize(
    "changes", [{"place": 20}, {"place": -1}, {"columns": 5}, {"size": 4}, {"stride": 2}, {"shots": 1}]
)
def test_what_would_read_other_memory_is_refused_by_the_gradient(changes):
    place, columns, size, stride, shots = (
        {"place": 19, "columns": 4, "size": 3, "stride": 1, "shots": 2} | changes
    ).values()
    places = np.full((shots, 1, 1, 1), place, np.int32)
    frames, slopes = np.zeros((2, 7, 6), np.float32), np.ones(places.shape, np.float32)
    with pytest.raises(ValueError, match=r"outside the frames .*inside \(7, 6\)|unequal shapes"):
        max_pooling.kernel_gradient(frames, places, slopes, columns, stride, size, 1)


@pytest.mark.parametrize("stride", [1, 2])
def test_kernel_gradient_is_the_sum_of_what_was_seen(stride):
    rng = np.random.default_rng(1)
    size, rows, columns = 3, 5, 4
    frames = rng.normal(size=(4, (rows - 1) * stride + size, (columns - 1) * stride + size)).astype(np.float32)
    places = rng.integers(0, rows * columns, (4, 2, 2, 3)).astype(np.int32)
    slopes = rng.normal(size=places.shape).astype(np.float32)
    slopes[1, 0, 0, 0] = 0
    expected = np.zeros((size, size, 1, 3))
    for shot, i, j, c in np.ndindex(places.shape):
        row, column = divmod(int(places[shot, i, j, c]), columns)
        seen = frames[shot, row * stride : row * stride + size, column * stride : column * stride + size]
        expected[:, :, 0, c] += slopes[shot, i, j, c] * seen
    found = [
        max_pooling.kernel_gradient(frames, places, slopes, columns, stride, size, threads) for threads in (1, 2, 3)
    ]
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-6)
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()
