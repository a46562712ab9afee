"""Random streams of learning: each has its own seed sequence, named by seed, purpose and number.

`default_rng([seed, 3])` would be one stream for kernel 3 and for the order of epoch 3, and layers with the seeds seed,
seed + 1, ... would share theirs with the next seed. The spawn keys of numpy's SeedSequence keep all streams apart.
"""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """Purposes of streams. The numbers decide every trained weight: never change one; add new ones at the end."""

    KERNEL = 0  # of a layer: initial weights
    ORDER = 1  # of the shots in an epoch
    AUGMENTATION = 2  # of a minibatch of an epoch
    LAYER = 3  # that draws in training: dropout, noise


def generator(seed: int, purpose: Purpose, *number: int) -> np.random.Generator:
    """Return numpy's generator for `number` (a layer; an epoch; an epoch and a minibatch) of `purpose`."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, *number)))


def layer_seed(seed: int, number: int) -> int:
    """Return Keras' seed, 0 to 2**32 - 1, of the `number`-th layer that draws in training."""
    return int(np.random.SeedSequence(seed, spawn_key=(Purpose.LAYER, number)).generate_state(1)[0])
