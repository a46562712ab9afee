"""Prepared file -> minibatches, in an order that is a pure function of (seed, epoch)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.backend import keras
from xtcav_ml.h5io.prepared import PreparedFile


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Images (batch, rows, columns, 1) float32 and labels (batch,) int32, read from disk.

    On TensorFlow the next minibatches are read while one trains: its data pipeline prefetches, on a thread of its own.

    With a seed the shots are shuffled anew for every `epoch`, which the trainer sets, and those that do not fill a last
    minibatch wait for another epoch. Without, all shots come in file order.
    """

    def __init__(self, prepared: PreparedFile, batch_size: int, seed: int | None = None) -> None:
        super().__init__()
        self.prepared, self.batch_size, self.seed, self.epoch = prepared, batch_size, seed, 0

    def __len__(self) -> int:
        """Return the number of minibatches in an epoch."""
        whole, rest = divmod(self.prepared.shots, self.batch_size)
        return whole if self.seed is not None else whole + (rest > 0)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Return minibatch `index` of the present epoch."""
        rows = self._order()[index * self.batch_size : (index + 1) * self.batch_size]
        images = self.prepared.images(rows)[..., np.newaxis].astype(np.float32)
        return images, self.prepared.labels[rows].astype(np.int32)

    def _order(self) -> NDArray[np.int64]:
        shots = self.prepared.shots
        return np.arange(shots) if self.seed is None else shuffled(shots, self.seed, self.epoch)


def shuffled(shots: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the rows 0 to `shots` - 1 in the order of `epoch`."""
    return np.random.default_rng([seed, epoch]).permutation(shots)


class SetEpoch(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells the batches which epoch begins, so that a resumed training reads what an uninterrupted one would."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the epoch before the first minibatch is asked for."""
        self.batches.epoch = epoch
