"""The fast first layer beside the stock layers that it stands for: the same maxima and the same gradients."""

import numpy as np
import pytest

from xtcav_ml.learning import fused_conv
from xtcav_ml.learning.backend import keras

SHAPES = [
    # rows, columns, channels, kernel, stride, window, pool stride
    (24, 20, 2, 3, 1, 2, 2),
    (37, 41, 3, 4, 2, 5, 3),
    (30, 31, 7, 5, 3, 3, 2),
    (50, 60, 16, 8, 1, 13, 10),
    (17, 13, 40, 2, 1, 3, 2),
    (24, 20, 1, 3, 64, 1, 1),  # a stride that leaves the frame: TensorFlow aborts where columns beyond it count
]


def slopes(function, weights, frames, weighing):
    import tensorflow as tf

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            found = function(frames)
            loss = tf.reduce_sum(tf.nn.relu(found) * weighing)
        return found, tape.gradient(loss, weights)

    return step()


@pytest.mark.parametrize("shots", [1, 5])
@pytest.mark.parametrize(("rows", "columns", "channels", "kernel", "stride", "window", "pool_stride"), SHAPES)
def test_same_as_stock(keras_ready, monkeypatch, shots, rows, columns, channels, kernel, stride, window, pool_stride):
    monkeypatch.setattr(
        fused_conv, "MAP_BYTES", 2 * 4 * rows * columns * channels // stride**2
    )  # some chunks, one partial
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(shots, rows, columns, 1)).astype(np.float32)
    convolution = {"filters": channels, "kernel_size": kernel, "strides": stride, "padding": "same"}
    fast = fused_conv.ConvMaxPool(pool_window=window, pool_stride=pool_stride, **convolution)
    stock = keras.Sequential(
        [
            keras.layers.Conv2D(**convolution),
            keras.layers.MaxPooling2D(window, pool_stride, "same"),
        ]
    )
    expected_shape = stock(frames).shape
    assert fast.compute_output_shape(frames.shape) == expected_shape
    fast.build(frames.shape)
    weights = [stock.get_weights()[0], rng.normal(size=channels)]
    fast.set_weights(weights)
    stock.set_weights(weights)
    weighing = rng.normal(size=expected_shape).astype(np.float32)
    found, by_weights = slopes(fast, fast.trainable_variables, frames, weighing)
    expected, by_stock_weights = slopes(stock, stock.trainable_variables, frames, weighing)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(by_weights, by_stock_weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("columns", [1, 2, 3, 5, 8, 9, 16, 17])
def test_narrow_frames_have_the_maxima_that_numpy_computes(keras_ready, columns):
    """oneDNN returns memory of others for a map one column wide whose strides differ."""
    rng = np.random.default_rng(columns)
    frames, kernel = rng.normal(size=(8, 6, columns, 1)), rng.normal(size=(3, 3, 1, 4))
    layer = fused_conv.ConvMaxPool(pool_window=1, pool_stride=1, filters=4, kernel_size=3, padding="same")
    layer.build(frames.shape)
    layer.set_weights([kernel, np.zeros(4)])
    padded = np.pad(frames[..., 0], ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    expected = np.tensordot(windows, kernel[:, :, 0], 2)
    np.testing.assert_allclose(layer(frames.astype(np.float32)), expected, rtol=1e-4, atol=1e-4)
