"""The notes' first images: a vertical line on noise, or noise alone. Each is a function of the seed and its number."""

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.notes2016.experiments import Signal

SIGNAL_CLASSES = ("noise", "signal")  # of images of even and odd number
INT16 = np.iinfo(np.int16)


def draw_images(signal: Signal, first: int, count: int) -> NDArray[np.int16]:
    """Return images `first` to `first` + `count` - 1, (count, size, size) in `signal.unit`.

    Those of even number are noise: normal, of mean 0. In the others `least_pixels` to `size` pixels of one column lie around
    `line_mean` instead, at any height.
    """
    images = np.empty((count, signal.size, signal.size), np.int16)
    for number, image in enumerate(images, start=first):
        rng = np.random.default_rng([signal.seed, number])
        values = rng.standard_normal(image.shape, np.float32) * np.float32(signal.noise_sd / signal.unit)
        if number % 2:
            length = int(rng.integers(signal.least_pixels, signal.size + 1))
            top = int(rng.integers(0, signal.size - length + 1))
            line = rng.normal(signal.line_mean, signal.line_sd, length) / signal.unit
            values[top : top + length, rng.integers(0, signal.size)] = line
        image[...] = np.clip(np.rint(values), INT16.min, INT16.max)
    return images
