"""The fused layer: convolution and max pooling as one operation, several times as fast as the stock layers; TensorFlow, CPU.

The notes' networks spend nearly all their time and memory in a first convolution at full resolution, whose map (32 frames of
726 x 568 with 8 channels: 422 MB) is pooled to a hundredth at once. Here no map is stored, and the gradient is computed at the
maxima alone (`conv_pool`). The bias is added after the pooling, at a hundredth of the pixels: it keeps the order of the values.

Its results equal those of the stock layers but for the rounding of sums, and are the same bits on every processor and for any
number of threads (`vector_code`). A model is saved with stock layers.
"""

import functools
from typing import Any

import tensorflow as tf

from xtcav_ml.learning import operations
from xtcav_ml.learning.backend import keras
from xtcav_ml.learning.conv_pool import Geometry
from xtcav_ml.learning.jobs import BY_FRAMES, BY_KERNEL, POOL

Size = int | tuple[int, int]  # of rows and columns


class ConvMaxPool(keras.layers.Conv2D):  # type: ignore[misc]
    """A convolution and a max pooling of frames (batch, rows, columns, channels); `options` are Conv2D's."""

    def __init__(self, *, pool_window: Size, pool_stride: Size, pool_padding: str = "same", **options: Any) -> None:
        super().__init__(**options)
        self.pool_window, self.pool_stride, self.pool_padding = _pair(pool_window), _pair(pool_stride), pool_padding
        self.threads = tf.config.threading.get_intra_op_parallelism_threads() or 1

    def call(self, frames: Any) -> Any:
        """Return the maxima (batch, rows', columns', channels), bias added."""
        return self._pooled(frames, tf.convert_to_tensor(self.kernel)) + self.bias

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape after the pooling."""
        geometry = self._geometry(input_shape)
        return (input_shape[0], geometry.pooled_rows, geometry.pooled_columns, self.filters)

    def _geometry(self, shape: tuple[Any, ...]) -> Geometry:
        sizes = self.kernel_size, self.strides, self.pool_window, self.pool_stride
        return Geometry.of(shape[1:], self.filters, *sizes, self.padding, self.pool_padding)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def _pooled(self, frames: Any, kernel: Any) -> Any:
        shape = tuple(frames.shape)
        operate = functools.partial(operations.call, geometry=self._geometry(shape), threads=self.threads)

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def pooled(frames: Any, kernel: Any) -> Any:
            best, places = operate(POOL, frames, kernel)

            def gradient(slopes: Any) -> Any:
                (by_frames,) = operate(
                    BY_FRAMES, frames, kernel, places, slopes
                )  # TensorFlow leaves out what nobody uses
                (by_kernel,) = operate(BY_KERNEL, frames, kernel, places, slopes)
                return tf.ensure_shape(by_frames, shape), tf.ensure_shape(by_kernel, kernel.shape)

            return best, gradient

        return tf.ensure_shape(pooled(frames, kernel), self.compute_output_shape(shape))


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size
