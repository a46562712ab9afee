"""The compiled loops give the bits that numpy's operations give, one after the other."""

import functools

import numpy as np
import pytest

from xtcav_ml.science import images, pixel_loops, portable


def logarithms_by_numpy(values):
    positive = np.clip(values, np.float32(0), np.float32(np.inf))
    finite = np.isfinite(positive)
    return np.where(finite, portable.log(1 + np.where(finite, positive, 0)), positive)


def means_by_numpy(frames, size):
    rows, columns = (length // size for length in frames.shape[1:])
    kept = frames[:, : rows * size, : columns * size]
    add = functools.partial(np.add, dtype=np.int64 if frames.dtype.kind == "i" else np.float32)
    by_rows = functools.reduce(add, (kept[:, i::size] for i in range(size)))
    return functools.reduce(add, (by_rows[:, :, i::size] for i in range(size))).astype(np.float32) * np.float32(
        1 / (size * size)
    )


def bits(array):
    assert array.dtype == np.float32
    return array.view(np.int32).tolist()


def test_logarithms_have_the_bits_of_numpy_s_operations():
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [
            rng.exponential(100, 5000) - 20,
            10.0 ** rng.uniform(-45, 38, 5000),
            [0, -0.0, 1, 2**24, np.finfo(np.float32).max, np.inf, -np.inf, np.nan],
        ]
    ).astype(np.float32)
    assert bits(images.log(values.reshape(2, 4, -1)).reshape(-1)) == bits(logarithms_by_numpy(values))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float32])
def test_means_have_the_bits_of_numpy_s_operations(kind, size):
    ends = {np.int16: (-32768, 32768), np.int32: (-(2**31), 2**31), np.float32: (-9999, 9999)}[kind]
    frames = np.random.default_rng(size).uniform(*ends, (2, 17, 22)).astype(kind)
    assert bits(images.block_mean(frames, size)) == bits(means_by_numpy(frames, size))


def test_a_sum_of_many_bright_pixels_does_not_overflow():
    frames = np.full((1, 300, 300), -32768, np.int16)
    for size in (255, 256, 257, 300):
        assert images.block_mean(frames, size).tolist() == [[[-32768.0]]]


@pytest.mark.parametrize("function", [images.log, functools.partial(images.block_mean, size=2)])
def test_parts_of_frames_and_those_that_nobody_may_write_to_are_read(function):
    whole = np.random.default_rng(1).normal(50, 40, (3, 9, 12)).astype(np.float32)
    expected = function(np.ascontiguousarray(whole[:, 1:7, 2:10])).tolist()
    whole.flags.writeable = False
    odd = np.frombuffer(b"x" + whole.tobytes(), np.uint8)[1:].view(np.float32).reshape(whole.shape)
    for frames in (whole, odd):
        assert function(frames[:, 1:7, 2:10]).tolist() == expected


def test_other_kinds_of_pixels_are_no_frames():
    with pytest.raises(KeyError):
        pixel_loops.block_mean(np.dtype(np.float64), 2)
