"""The fused layer beside the stock layers that it stands for: the same maxima and the same gradients."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from xtcav_ml.learning import conv_pool, fused_conv, jobs, operations
from xtcav_ml.learning.backend import keras

SIZES = {
    "shape": st.tuples(*(st.integers(1, most) for most in (3, 26, 60, 3))),
    "channels": st.integers(1, 9),
    "kernel": st.tuples(st.integers(1, 8), st.integers(1, 8)),
    "strides": st.tuples(st.integers(1, 3), st.integers(1, 3)),
    "window": st.tuples(st.integers(1, 13), st.integers(1, 13)),
    "steps": st.tuples(st.integers(1, 10), st.integers(1, 10)),
    "padding": st.sampled_from(["same", "valid"]),
    "pool_padding": st.sampled_from(["same", "valid"]),
    "threads": st.integers(1, 3),
}
NOTES = {
    "shape": (5, 50, 60, 1),
    "channels": 8,
    "kernel": (8, 8),
    "strides": (1, 1),
    "window": (13, 13),
    "steps": (10, 10),
    "padding": "same",
    "pool_padding": "same",
    "threads": 2,
}


def layers(shape, channels, kernel, strides, window, steps, padding, pool_padding, threads):
    """Return the fused layer and the stock ones."""
    options = {"filters": channels, "kernel_size": kernel, "strides": strides, "padding": padding}
    fused = fused_conv.ConvMaxPool(pool_window=window, pool_stride=steps, pool_padding=pool_padding, **options)
    fused.threads = threads
    pooling = keras.layers.MaxPooling2D(window, steps, pool_padding)
    return fused, keras.Sequential([keras.layers.Conv2D(**options), pooling])


def slopes(layer, frames, kernel, bias, weighing):
    """Return the maxima and the derivatives of a weighted sum by kernel, bias and frames."""
    import tensorflow as tf

    layer.build(frames.shape)
    layer.set_weights([kernel, bias])
    frames = tf.constant(frames)
    with tf.GradientTape() as tape:
        tape.watch(frames)
        found = layer(frames)
        loss = tf.reduce_sum(tf.nn.relu(found) * weighing(found.shape))
    return [np.asarray(each) for each in (found, *tape.gradient(loss, [*layer.trainable_variables, frames]))]


def beside_stock(draw, **sizes):
    both = [slopes(layer, *draw(sizes), lambda shape: draw({"shape": shape})[0]) for layer in layers(**sizes)]
    assert both[0][0].shape == both[1][0].shape
    return zip(*both, strict=True)


def fits(sizes):
    """Whether TensorFlow computes it: it refuses some kernels, and writes outside its memory if steps leave out pixels."""
    for length, kernel, stride, window in zip(
        sizes["shape"][1:3], sizes["kernel"], sizes["strides"], sizes["window"], strict=True
    ):
        if stride > kernel or (sizes["padding"] == "valid" and kernel > length):
            return False
        if sizes["pool_padding"] == "valid" and window > conv_pool.padded(length, kernel, stride, sizes["padding"])[0]:
            return False
    return True


def normal(sizes):
    rng = np.random.default_rng(0)
    shapes = [sizes["shape"]]
    if "kernel" in sizes:
        shapes += [(*sizes["kernel"], sizes["shape"][3], sizes["channels"]), (sizes["channels"],)]
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def whole(sizes):
    """Small whole numbers, whose sums are exact, and often equal."""
    return [np.rint(values) for values in normal(sizes)]


@settings(max_examples=max(1, settings().max_examples // 5))
@given(**SIZES)
def test_same_as_stock(keras_ready, **sizes):
    """Up to the rounding of sums: 1e-5 of the largest value, 1e-4 of the largest derivative."""
    assume(fits(sizes))
    for i, (found, expected) in enumerate(beside_stock(normal, **sizes)):
        tolerance = (1e-4 if i else 1e-5) * max(1, np.abs(expected).max(initial=0))
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


@settings(max_examples=max(1, settings().max_examples // 5))
@given(**SIZES)
def test_of_equal_maxima_the_first_counts_as_in_stock(keras_ready, **sizes):
    assume(fits(sizes))
    for found, expected in beside_stock(whole, **sizes):
        np.testing.assert_array_equal(found, expected)


@settings(max_examples=max(1, settings().max_examples // 5))
@given(**{name: SIZES[name] for name in ("shape", "channels", "kernel", "window", "steps", "padding", "threads")})
def test_with_a_batch_normalization_same_as_stock(keras_ready, **sizes):
    """In training and without, gammas of either sign: maxima, derivatives by all weights, moving mean and variance."""
    sizes |= {"shape": (*sizes["shape"][:3], 1), "strides": (1, 1), "pool_padding": "same"}
    assume(fits(sizes))
    import tensorflow as tf

    frames, kernel, bias = normal(sizes)
    assume(np.prod(frames.shape) > 20)  # of a few pixels the variance may be all rounding
    rng, count = np.random.default_rng(3), sizes["channels"]
    norm = [rng.normal(size=count), rng.normal(size=count), rng.normal(size=count), rng.uniform(1, 2, count)]
    options = {"filters": count, "kernel_size": sizes["kernel"], "padding": sizes["padding"]}
    fused = fused_conv.ConvMaxPool(pool_window=sizes["window"], pool_stride=sizes["steps"], normalized=True, **options)
    fused.threads = sizes["threads"]
    pooling = keras.layers.MaxPooling2D(sizes["window"], sizes["steps"], "same")
    stock = keras.Sequential([keras.layers.Conv2D(**options), keras.layers.BatchNormalization(), pooling])
    found = []
    for layer in (fused, stock):
        layer.build(frames.shape)
        layer.set_weights([kernel, bias, *norm])
        values = [np.asarray(layer(tf.constant(frames), training=False))]
        with tf.GradientTape() as tape:
            maxima = layer(tf.constant(frames), training=True)
            loss = tf.reduce_sum(tf.nn.relu(maxima) * normal({"shape": maxima.shape})[0])
        values += [np.asarray(each) for each in (maxima, *tape.gradient(loss, layer.trainable_variables))]
        found.append([*values, *layer.get_weights()[-2:]])
    ours, theirs = found
    assert not ours.pop(3).any()  # the derivative by the bias, which a mean takes away again
    theirs.pop(3)  # where stock layers have the rounding of sums over all places
    rounding = 1e-6 * ours[1].size / 0.001**0.5  # of these, for the smallest variance, which is that of Keras' epsilon
    for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        tolerance = 1e-3 * max(1, np.abs(other).max()) + rounding
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance, err_msg=str(i))


def test_same_bits_for_any_number_of_threads_and_of_shots(keras_ready):
    kept = []
    for shots, threads in ((5, 1), (5, 2), (5, 3), (5, 7), (1, 1), (1, 3)):
        sizes = NOTES | {"shape": (shots, *NOTES["shape"][1:]), "threads": threads}
        frames, kernel, bias = normal(NOTES)
        found = slopes(layers(**sizes)[0], frames[:shots], kernel, bias, lambda shape: 1)
        if kept and shots == 5:
            assert all(one.tobytes() == other.tobytes() for one, other in zip(kept, found, strict=True))
        kept = kept or found
        assert found[0].tobytes() == kept[0][:shots].tobytes()


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("stride", [1, 2])
def test_it_standardizes_pixels_to_the_bits_of_keras(keras_ready, dtype, stride):
    """Beside the same layer after Keras' own normalization: maxima, and derivatives by kernel, bias and pixels."""
    import tensorflow as tf

    sizes = NOTES | {"strides": (stride, stride)}
    _, kernel, bias = normal(sizes)
    pixels = np.random.default_rng(1).integers(-300, 3000, sizes["shape"]).astype(dtype)
    found = []
    for kind in (keras.layers.Normalization, fused_conv.PixelStatistics):
        before, layer = kind(axis=None), layers(**sizes)[0]
        before.build(pixels.shape)
        before.adapt_mean.assign(321.7)
        before.adapt_variance.assign(98765.4)
        before.finalize_state()
        layer.build(pixels.shape)
        layer.set_weights([kernel, bias])
        with tf.GradientTape() as tape:
            frames = tf.constant(pixels)
            tape.watch(frames)
            maxima = layer(before(frames))
            loss = tf.reduce_sum(maxima**2)
        by_weights = [*layer.trainable_variables, *([frames] if dtype == "float32" else [])]
        found.append([np.asarray(each) for each in (maxima, *tape.gradient(loss, by_weights))])
    assert [each.tobytes() for each in found[0]] == [each.tobytes() for each in found[1]]
    assert np.abs(found[0][0]).max() > 1


def test_what_is_not_a_number_stays_so(keras_ready):
    layer = layers(**NOTES)[0]
    frames, kernel, bias = normal(NOTES)
    kernel[:, :, :, 3] = np.nan
    best = slopes(layer, frames, kernel, bias, lambda shape: 1)[0]
    assert np.isnan(best[..., 3]).all()
    assert not np.isnan(best[..., :3]).any()


@pytest.mark.parametrize(
    ("part", "index"),
    [("frames", 0), ("statistics", 1), ("kernel", 2), ("places", 3), ("slopes", 4), ("a place", 3)],
)
def test_what_would_read_other_memory_is_refused(keras_ready, part, index):
    import tensorflow as tf

    layer = layers(**NOTES)[0]
    layer.build(NOTES["shape"])
    geometry = layer._geometry(NOTES["shape"])
    frames, kernel, _ = normal(NOTES)
    shape = (5, geometry.pooled_rows, geometry.pooled_columns, 8)
    statistics = np.array(fused_conv.UNCHANGED, np.float32)
    arrays = [frames, statistics, kernel, np.zeros(shape, np.int32), np.zeros(shape, np.float32)]
    message = "places lie outside the map" if part == "a place" else "not those of the geometry"
    if part == "a place":
        arrays[3][0, 0, 0, 0] = geometry.rows * geometry.columns
    else:
        arrays[index] = arrays[index][..., :-1]

    @tf.function
    def differentiate():
        return operations.call(jobs.BY_KERNEL, *map(tf.constant, arrays), geometry=geometry, threads=1)

    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        differentiate()


LITTLE_MEMORY = """
import resource
from pathlib import Path

import numpy as np

from xtcav_ml.learning import backend
from xtcav_ml.learning.fused_conv import ConvMaxPool
from xtcav_ml.system.errors import UserError
import tensorflow as tf

backend.configure(1, 2)
first, second = (ConvMaxPool(filters=4, kernel_size=3, padding="same", pool_window=13, pool_stride=10) for _ in range(2))
first(tf.constant(np.ones((1, 40, 40, 1), np.float32)))  # compiles
second.build((1, 8000, 8000, 1))
large = tf.constant(np.ones((1, 8000, 8000, 1), np.float32))
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 60_000_000, resource.RLIM_INFINITY))
try:
    with backend.enough_memory():
        print(second(large).numpy().max())
except UserError as error:
    print(error)
"""
"""A thread pads half a frame, which takes 128 MB, and 60 may be taken."""


@pytest.mark.thorough
def test_too_little_memory_in_a_thread_is_one_line_and_no_result():
    found = subprocess.run([sys.executable, "-c", LITTLE_MEMORY], capture_output=True, text=True, check=True).stdout
    assert "train.batch_size: a training step takes more memory than is free" in found
