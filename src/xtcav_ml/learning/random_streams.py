"""All random numbers that learning draws: each from a stream of its own, named by seed, purpose and number.

With `default_rng([seed, 3])` for kernel 3 and for the order of epoch 3 both would be one stream, and layers seeded by seed,
seed + 1, ... would share theirs with the next seed. Spawn keys of numpy's SeedSequence keep them apart.
"""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream is for. The numbers decide every trained weight: never change one, add at the end."""

    KERNEL = 0  # of a layer: initial weights
    ORDER = 1  # of the shots in an epoch
    AUGMENTATION = 2  # of a minibatch of an epoch
    LAYER = 3  # that draws in training: dropout, noise


def generator(seed: int, purpose: Purpose, *number: int) -> np.random.Generator:
    """Return numpy's generator for `number` (a layer; an epoch; an epoch and a minibatch) of `purpose`."""
    return np.random.default_rng(_sequence(seed, purpose, *number))


def layer_seed(seed: int, number: int) -> int:
    """Return the seed, 0 to 2**32 - 1, of the `number`-th layer that draws in training: Keras counts on from there itself."""
    return int(_sequence(seed, Purpose.LAYER, number).generate_state(1)[0])


def _sequence(seed: int, purpose: Purpose, *number: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(purpose, *number))
