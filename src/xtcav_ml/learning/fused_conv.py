"""The fused first layer: convolution and max pooling in one, several times faster than the stock layers; TensorFlow, CPU.

The notes' networks spend nearly all their time and memory in a first convolution at full resolution, whose map (32 frames of
726 x 568 with 8 channels: 422 MB) is pooled to a hundredth at once. This layer

- convolves and pools a few frames at a time, so that the map never leaves the processor's cache;
- computes neighbouring columns together, as more channels of a wider kernel: one channel in and eight out use half of the
  processor's vectors, or less;
- computes the gradient at the maxima alone (`max_pooling`): nothing else has one;
- adds the bias after the pooling, at a hundredth of the pixels: it keeps the order of the values.

Its results equal those of the stock layers but for the rounding of sums. A model is saved with stock layers.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from xtcav_ml.learning import max_pooling
from xtcav_ml.learning.backend import keras

MAP_BYTES = 12 * 2**20
"""Bytes of a map that are computed before they are pooled: they stay in the last level of cache."""

LANES = 32
"""Channels that are computed together: fewer leave vectors partly empty, many more make the wider kernel too expensive."""


class ConvMaxPool(keras.layers.Conv2D):  # type: ignore[misc]
    """A convolution and a max pooling of frames (batch, rows, columns, 1), both with `same` padding, in pixels.

    `options` are Conv2D's. Frames are data: no gradient by them is computed.
    """

    def __init__(self, *, pool_window: int, pool_stride: int, **options: Any) -> None:
        super().__init__(**options)
        self.pool_window, self.pool_stride = pool_window, pool_stride
        self.threads = tf.config.threading.get_intra_op_parallelism_threads() or 1

    def call(self, frames: Any) -> Any:
        """Return the maxima (batch, rows', columns', channels), bias added."""
        return self._pooled(frames, tf.convert_to_tensor(self.kernel)) + self.bias

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape after the pooling."""
        batch, rows, columns, channels = super().compute_output_shape(input_shape)
        return (batch, -(-rows // self.pool_stride), -(-columns // self.pool_stride), channels)

    def _pooled(self, frames: Any, kernel: Any) -> Any:
        stride, size, channels = self.strides[0], self.kernel_size[0], self.filters
        rows, above, below = max_pooling.same_padding(frames.shape[1], size, stride)
        columns, left, right = max_pooling.same_padding(frames.shape[2], size, stride)
        # at least two steps: oneDNN returns memory of others for one step of another length than that down the rows
        together = max(1, min(LANES // channels, columns // 2))
        pitch = -(-columns // together) * together  # columns beyond the last one are ignored
        padding = [[0, 0], [above, below], [left, right + (pitch - columns) * stride], [0, 0]]
        step = max(1, MAP_BYTES // (4 * rows * pitch * channels))

        def pool(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            maps = maps.reshape(len(maps), rows, pitch, channels)
            return max_pooling.max_pool(maps, columns, self.pool_window, self.pool_stride, self.threads)

        def slope(padded: np.ndarray, places: np.ndarray, slopes: np.ndarray) -> np.ndarray:
            images = padded.reshape(padded.shape[:3])
            return max_pooling.kernel_gradient(images, places, slopes, columns, stride, size, self.threads)

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def convolved(kernel: Any) -> Any:
            margins = [[i * stride, (together - 1 - i) * stride] for i in range(together)]
            wide = tf.concat([tf.pad(kernel, [[0, 0], margin, [0, 0], [0, 0]]) for margin in margins], axis=3)
            shots = tf.shape(padded)[0]
            chunks = -(-shots // step)
            arrays = [tf.TensorArray(kind, chunks, infer_shape=False) for kind in (tf.float32, tf.int32)]

            def chunk(i: Any, *filled: Any) -> tuple[Any, ...]:
                some = padded[i * step : (i + 1) * step]
                maps = tf.nn.conv2d(some, wide, [1, stride, stride * together, 1], "VALID")
                pooled = tf.numpy_function(pool, [maps], [tf.float32, tf.int32], stateful=False)
                return (i + 1, *(array.write(i, values) for array, values in zip(filled, pooled, strict=True)))

            _, *filled = tf.while_loop(lambda i, *_: i < chunks, chunk, (0, *arrays), parallel_iterations=1)
            best, places = (array.concat() for array in filled)

            def gradient(slopes: Any) -> Any:
                by_kernel = tf.numpy_function(slope, [padded, places, slopes], tf.float32, stateful=False)
                return tf.ensure_shape(by_kernel, kernel.shape)

            return best, gradient

        padded = tf.pad(tf.stop_gradient(frames), padding)
        return tf.ensure_shape(convolved(kernel), self.compute_output_shape(tuple(frames.shape)))
