"""Prepared file -> minibatches, in an order that is a pure function of (seed, epoch)."""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import backend
from xtcav_ml.learning.augment import Augmentation
from xtcav_ml.learning.backend import keras
from xtcav_ml.learning.layer_plan import CLASS_HEAD, FEATURES_INPUT, FRAME_INPUT, NUMBER_HEAD
from xtcav_ml.learning.random_streams import Purpose, generator

FRAMES_AT_ONCE = 256
"""Frames that are brought to a GPU at once."""


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """What a network takes and what it shall return, as dicts of arrays, read from disk; pixels as stored.

    On TensorFlow the next one is made while one trains (`backend.feed`). On JAX with a GPU all frames are brought there once,
    if they take at most half of what is free and are not varied.

    With a seed the shots are shuffled anew for every `epoch`, which the trainer sets, and those that do not fill a last
    minibatch wait for another epoch. Without, all shots come in file order. With `class_weights` (classes,) each shot's
    cross-entropy is weighed by that of its class, with an `augmentation` the frames are varied anew in every epoch.
    """

    def __init__(
        self,
        prepared: PreparedFile,
        batch_size: int,
        seed: int | None = None,
        class_weights: NDArray[np.float32] | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__()
        self.prepared, self.batch_size, self.seed, self.epoch = prepared, batch_size, seed, 0
        self.augmentation = augmentation
        self.seconds = 0.0  # spent reading since somebody set it to 0
        self._on_gpu = _on_gpu(prepared) if augmentation is None else None
        self._features = prepared.features
        self._targets: dict[str, NDArray[Any]] = {}
        if prepared.classes:
            self._targets[CLASS_HEAD] = prepared.labels.astype(np.int32)
        if prepared.meaning.regression:
            self._targets[NUMBER_HEAD] = prepared.targets
        self._weights = None if class_weights is None else class_weights[self._targets[CLASS_HEAD]]

    def __len__(self) -> int:
        """Return the number of minibatches in an epoch."""
        whole, rest = divmod(self.prepared.shots, self.batch_size)
        return whole if self.seed is not None else whole + (rest > 0)

    def __getitem__(self, index: int) -> tuple[dict[str, Any], ...]:
        """Return minibatch `index` of the present epoch: inputs, targets and, if there are any, weights."""
        started = time.monotonic()
        batch = self._made(index)
        self.seconds += time.monotonic() - started
        return batch

    def _made(self, index: int) -> tuple[dict[str, Any], ...]:
        rows = self._order()[index * self.batch_size : (index + 1) * self.batch_size]
        frames = self.prepared.stored(rows) if self._on_gpu is None else self._on_gpu[rows]
        if self.augmentation is not None:
            frames = self.augmentation.apply(frames, generator(self.seed or 0, Purpose.AUGMENTATION, self.epoch, index))
        inputs: dict[str, Any] = {FRAME_INPUT: frames[..., np.newaxis]}
        if self._features.shape[1]:
            inputs[FEATURES_INPUT] = self._features[rows]
        targets = {name: values[rows] for name, values in self._targets.items()}
        if self._weights is None:
            return inputs, targets
        ones = {name: np.ones(len(rows), np.float32) for name in targets}
        return inputs, targets, {**ones, CLASS_HEAD: self._weights[rows]}

    def _order(self) -> NDArray[np.int64]:
        shots = self.prepared.shots
        return np.arange(shots) if self.seed is None else shuffled(shots, self.seed, self.epoch)


def _on_gpu(prepared: PreparedFile) -> Any | None:
    """Return all frames as they are stored, on the GPU, or None if there is none or not room for twice as many."""
    if not prepared.shots or 2 * prepared.nbytes > backend.free_on_gpu():
        return None
    return backend.place(
        prepared.stored(np.arange(prepared.shots)[i : i + FRAMES_AT_ONCE])
        for i in range(0, prepared.shots, FRAMES_AT_ONCE)
    )


def shuffled(shots: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the rows 0 to `shots` - 1 in the order of `epoch`."""
    return generator(seed, Purpose.ORDER, epoch).permutation(shots)


class SetEpoch(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells the batches which epoch begins, so that a resumed training reads what an uninterrupted one would."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the epoch before the first minibatch is asked for."""
        self.batches.epoch = epoch
