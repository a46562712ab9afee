"""The fused layer: convolution and max pooling as one operation, several times as fast as the stock layers; TensorFlow, CPU.

The notes' networks spend nearly all their time and memory in a first convolution at full resolution, whose map (32 frames of
726 x 568 with 8 channels: 422 MB) is pooled to a hundredth at once. Here no map is stored, and the gradient is computed at the
maxima alone (`conv_pool`). The bias is added after the pooling, at a hundredth of the pixels: it keeps the order of the values.

Pixels as they are stored, in 16 bits, are standardized by it too, row by row as they are read: TensorFlow would write three
whole arrays of floats for that, a sixth of a step.

Its results equal those of the stock layers but for the rounding of sums, and are the same bits on every processor and for any
number of threads (`vector_code`). A model is saved with stock layers.
"""

import functools
from typing import Any

import tensorflow as tf

from xtcav_ml.learning import operations
from xtcav_ml.learning.backend import keras
from xtcav_ml.learning.conv_pool import Geometry
from xtcav_ml.learning.jobs import BY_FRAMES, BY_KERNEL, MOMENTS, POOL

Size = int | tuple[int, int]  # of rows and columns


class PixelStatistics(keras.layers.Normalization):  # type: ignore[misc]
    """A normalization by two numbers that is left to the ConvMaxPool after it; both have the same weights.

    Its outputs are the frames as they are, and the mean and the standard deviation of their pixels (2,).
    """

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Call the layer as Keras does others: it would convert the frames of one that normalizes."""
        return keras.layers.Layer.__call__(self, *inputs, **options)

    def call(self, frames: Any) -> tuple[Any, Any]:
        """Return the frames (batch, rows, columns, channels) and the statistics."""
        mean, variance = (tf.reshape(self.convert_weight(each), ()) for each in (self.mean, self.variance))
        return frames, tf.stack([mean, tf.maximum(tf.sqrt(variance), keras.backend.epsilon())])

    def compute_output_spec(self, frames: Any) -> tuple[Any, Any]:
        """Return both shapes and types."""
        return keras.KerasTensor(frames.shape, frames.dtype), keras.KerasTensor((2,), "float32")


UNCHANGED = (0.0, 1.0)
"""Statistics that leave pixels as they are."""


class ConvMaxPool(keras.layers.Conv2D):  # type: ignore[misc]
    """A convolution and a max pooling of frames (batch, rows, columns, channels), or of what PixelStatistics returns.

    `options` are Conv2D's. With `normalized` there is a batch normalization between both, and one pixel is one number, met by
    steps of one pixel.
    """

    def __init__(
        self,
        *,
        pool_window: Size,
        pool_stride: Size,
        pool_padding: str = "same",
        normalized: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.norm = keras.layers.BatchNormalization() if normalized else None
        self.pool_window, self.pool_stride, self.pool_padding = _pair(pool_window), _pair(pool_stride), pool_padding
        self.threads = tf.config.threading.get_intra_op_parallelism_threads() or 1
        self.input_spec = None  # it is of one input alone

    def build(self, input_shape: Any) -> None:
        """Make kernel and bias."""
        super().build(_of_frames(input_shape))
        self.input_spec = None
        if self.norm is not None:
            self.norm.build((None, None, None, self.filters))

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return the maxima (batch, rows', columns', channels), bias added, or of the normalized map."""
        frames, statistics = inputs if isinstance(inputs, list | tuple) else (inputs, tf.constant(UNCHANGED))
        kernel = tf.convert_to_tensor(self.kernel)
        if self.norm is None:
            return self._pooled(frames, statistics, kernel) + self.bias
        gamma = tf.convert_to_tensor(self.norm.gamma)
        sign = tf.where(gamma < 0, -1.0, 1.0)  # of a falling normalization, the largest value is that of the smallest
        values = self._pooled(frames, statistics, kernel * sign) * sign
        mean, variance = self.norm.moving_mean - self.bias, self.norm.moving_variance
        if training:
            mean, variance = self._moments(frames, statistics, kernel)
            for moving, now in ((self.norm.moving_mean, mean + self.bias), (self.norm.moving_variance, variance)):
                moving.assign(moving * self.norm.momentum + now * (1.0 - self.norm.momentum))
        shift = self.norm.beta + 0.0 * self.bias  # which a mean takes away again: its derivative is 0, not missing
        return (values - mean) * (gamma * tf.math.rsqrt(variance + self.norm.epsilon)) + shift

    def _moments(self, frames: Any, statistics: Any, kernel: Any) -> tuple[Any, Any]:
        """Return mean and variance of the map of each channel (channels,), without the bias; `patch_moments` says how."""
        geometry = self._geometry(tuple(frames.shape))
        (sums,) = operations.call(MOMENTS, frames, statistics, geometry=geometry, threads=self.threads)
        taps = geometry.kernel_rows * geometry.kernel_columns
        sums = tf.reshape(tf.stop_gradient(sums), (1 + taps, taps))
        places = tf.cast(tf.shape(frames)[0] * geometry.rows * geometry.columns, tf.float64)
        weights = tf.cast(tf.reshape(kernel, (taps, self.filters)), tf.float64)
        mean = tf.linalg.matvec(weights, sums[0], transpose_a=True) / places
        squares = tf.reduce_sum(weights * tf.matmul(sums[1:], weights), 0) / places
        return tf.cast(mean, tf.float32), tf.cast(tf.maximum(squares - mean**2, 0), tf.float32)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Return the shape after the pooling."""
        shape = _of_frames(input_shape)
        geometry = self._geometry(shape)
        return (shape[0], geometry.pooled_rows, geometry.pooled_columns, self.filters)

    def compute_output_spec(self, inputs: Any, training: bool = False) -> Any:
        """Return shape and type of the maxima."""
        frames = inputs[0] if isinstance(inputs, list | tuple) else inputs
        return keras.KerasTensor(self.compute_output_shape(frames.shape), "float32")

    def _geometry(self, shape: tuple[Any, ...]) -> Geometry:
        sizes = self.kernel_size, self.strides, self.pool_window, self.pool_stride
        return Geometry.of(shape[1:], self.filters, *sizes, self.padding, self.pool_padding)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def _pooled(self, frames: Any, statistics: Any, kernel: Any) -> Any:
        shape = tuple(frames.shape)
        operate = functools.partial(operations.call, geometry=self._geometry(shape), threads=self.threads)

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def pooled(frames: Any, statistics: Any, kernel: Any) -> Any:
            best, places = operate(POOL, frames, statistics, kernel)

            def gradient(slopes: Any) -> Any:
                given = frames, statistics, kernel, places, slopes
                (by_frames,) = operate(BY_FRAMES, *given)  # TensorFlow leaves out what nobody uses
                (by_kernel,) = operate(BY_KERNEL, *given)
                by_pixels = tf.ensure_shape(by_frames, shape) / statistics[1] if frames.dtype.is_floating else None
                return by_pixels, None, tf.ensure_shape(by_kernel, kernel.shape)

            return best, gradient

        return tf.ensure_shape(pooled(frames, statistics, kernel), self.compute_output_shape(shape))


def _of_frames(shape: Any) -> tuple[Any, ...]:
    """Return the shape of the frames, where there may be that of the statistics behind it."""
    return tuple(shape[0] if isinstance(shape[0], list | tuple) else shape)


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size
