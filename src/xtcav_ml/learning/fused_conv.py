"""The first layer, several times faster than stock: convolution and max pooling in one, for TensorFlow on a CPU.

The notes' networks spend nearly all their time and memory in a first convolution at full resolution, whose map (32 frames of
726 x 568 with 8 channels: 422 MB) is pooled to a hundredth at once. Here

- a few frames at a time are convolved and pooled, so that the map never leaves the processor's cache;
- neighbouring columns are computed together, as more channels of a wider kernel: one channel in and eight out use half of
  the processor's vectors, or less;
- the gradient is taken from the places of the maxima alone (`pooling`): nothing else has one;
- what keeps order, as adding the bias does, comes after the pooling, where there is a hundredth to do.

The numbers are those of the stock layers, to the last bits of a sum's rounding. A model is saved with stock layers.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from xtcav_ml.learning import max_pooling
from xtcav_ml.learning.backend import keras

MAP_BYTES = 12 * 2**20
"""Bytes of map that are made before they are pooled: they stay in the last level of cache."""

LANES = 32
"""Channels that are computed together; of fewer, vectors are partly empty, of many more, the wider kernel costs more."""


class ConvMaxPool(keras.layers.Conv2D):  # type: ignore[misc]
    """A convolution and a max pooling, for frames (batch, rows, columns, 1), both with `same` padding, in pixels.

    `rest` is what Conv2D takes. Frames are data: no gradient by them is computed.
    """

    def __init__(self, *, pool_window: int, pool_stride: int, **rest: Any) -> None:
        super().__init__(**rest)
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
        rows, above, below = max_pooling.same(frames.shape[1], size, stride)
        columns, left, right = max_pooling.same(frames.shape[2], size, stride)
        together = max(1, LANES // channels)
        pitch = -(-columns // together) * together  # what is computed beyond the last column is never looked at
        padding = [[0, 0], [above, below], [left, right + (pitch - columns) * stride], [0, 0]]
        step = max(1, MAP_BYTES // (4 * rows * pitch * channels))

        def pool(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            whole = maps.reshape(len(maps), rows, pitch, channels)
            return max_pooling.max_pool(whole, columns, self.pool_window, self.pool_stride, self.threads)

        def slope(padded: np.ndarray, places: np.ndarray, slopes: np.ndarray) -> np.ndarray:
            return max_pooling.kernel_gradient(
                padded.reshape(padded.shape[:3]), places, slopes, columns, stride, size, self.threads
            )

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def convolved(kernel: Any) -> Any:
            wide = [
                tf.pad(kernel, [[0, 0], [i * stride, (together - 1 - i) * stride], [0, 0], [0, 0]])
                for i in range(together)
            ]
            wide = tf.concat(wide, axis=3)
            shots = tf.shape(padded)[0]
            chunks = -(-shots // step)
            arrays = [tf.TensorArray(kind, chunks, infer_shape=False) for kind in (tf.float32, tf.int32)]

            def chunk(i: Any, *filled: Any) -> tuple[Any, ...]:
                some = padded[i * step : (i + 1) * step]
                maps = tf.nn.conv2d(some, wide, [1, stride, stride * together, 1], "VALID")
                made = tf.numpy_function(pool, [maps], [tf.float32, tf.int32], stateful=False)
                return (i + 1, *(array.write(i, part) for array, part in zip(filled, made, strict=True)))

            _, *filled = tf.while_loop(lambda i, *_: i < chunks, chunk, (0, *arrays), parallel_iterations=1)
            best, places = (array.concat() for array in filled)

            def gradient(slopes: Any) -> Any:
                return tf.ensure_shape(
                    tf.numpy_function(slope, [padded, places, slopes], tf.float32, stateful=False), kernel.shape
                )

            return best, gradient

        padded = tf.pad(tf.stop_gradient(frames), padding)
        best = convolved(kernel)
        made = self.compute_output_shape(tuple(frames.shape))
        return tf.ensure_shape(best, made)
