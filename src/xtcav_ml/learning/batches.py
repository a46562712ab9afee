"""Minibatches of a prepared file, in an order that is a pure function of (seed, epoch)."""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import backend
from xtcav_ml.learning.augment import Augmentation
from xtcav_ml.learning.backend import WHOLE, Share, keras
from xtcav_ml.learning.layer_plan import CLASS_HEAD, FEATURES_INPUT, FRAME_INPUT, NUMBER_HEAD
from xtcav_ml.learning.random_streams import Purpose, generator

FRAMES_PER_COPY = 256  # frames that are copied to a GPU at once
PREDICTED_AT_ONCE = 64  # shots


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Inputs and targets of a network as dicts of arrays, read from disk; pixels as stored.

    On TensorFlow the next minibatch is read while one trains (`backend.feed`). On JAX with a GPU all frames are copied there
    once, if they take at most half of the free memory and are not augmented.

    With a seed, every `epoch`, which the trainer sets, has its own order, and shots that do not fill a last minibatch are left
    out of it. Without, all shots come in file order. `class_weights` (classes,) are factors of the cross-entropies of the
    shots of each class; an `augmentation` varies the frames differently in every epoch. Of each minibatch only this `share` is
    read.
    """

    def __init__(
        self,
        prepared: PreparedFile,
        batch_size: int,
        seed: int | None = None,
        class_weights: NDArray[np.float32] | None = None,
        augmentation: Augmentation | None = None,
        share: Share = WHOLE,
    ) -> None:
        super().__init__()
        self.prepared, self.batch_size, self.seed, self.epoch = prepared, batch_size, seed, 0
        self.augmentation = augmentation
        self.share = share
        self.seconds = 0.0  # spent reading since the caller last set it to 0
        self._on_gpu = _on_gpu(prepared) if augmentation is None else None
        self._features = prepared.features
        self._targets: dict[str, NDArray[Any]] = {}
        if prepared.classes:
            self._targets[CLASS_HEAD] = prepared.labels.astype(np.int32)
        if prepared.spec.regression:
            self._targets[NUMBER_HEAD] = prepared.targets
        self._weights = None if class_weights is None else class_weights[self._targets[CLASS_HEAD]]

    def __len__(self) -> int:
        """Return the number of minibatches in an epoch."""
        whole, rest = divmod(self.prepared.shots, self.batch_size)
        return whole if self.seed is not None else whole + (rest > 0)

    def __getitem__(self, index: int) -> tuple[dict[str, Any], ...]:
        """Return minibatch `index` of the present epoch: inputs, targets and, with class weights, weights."""
        started, shots = time.monotonic(), self.prepared.shots
        order = np.arange(shots) if self.seed is None else shuffled(shots, self.seed, self.epoch)
        minibatch = order[index * self.batch_size : (index + 1) * self.batch_size]
        rows = minibatch[self.share.of_minibatch(len(minibatch))]
        inputs: dict[str, Any] = {}
        if self.prepared.spec.has_frames:
            inputs[FRAME_INPUT] = self._frames(rows, index, len(minibatch))[..., np.newaxis]
        if self._features.shape[1]:
            inputs[FEATURES_INPUT] = self._features[rows]
        targets = {name: values[rows] for name, values in self._targets.items()}
        self.seconds += time.monotonic() - started
        if self._weights is None:
            return inputs, targets
        ones = {name: np.ones(len(rows), np.float32) for name in targets}
        return inputs, targets, {**ones, CLASS_HEAD: self._weights[rows]}

    def _frames(self, rows: NDArray[np.int64], index: int, size: int) -> Any:
        """Return the share of the frames of minibatch `index`, which has `size`, that is at `rows` of the file."""
        frames = self.prepared.stored(rows) if self._on_gpu is None else self._on_gpu[rows]
        if self.augmentation is None:
            return frames
        rng = generator(self.seed or 0, Purpose.AUGMENTATION, self.epoch, index)
        return self.augmentation.apply(frames, rng, self.share.of_minibatch(size).start, size)


def _on_gpu(prepared: PreparedFile) -> Any | None:
    """Return all frames as stored, on the GPU; None without a GPU or room for twice as many."""
    if not prepared.nbytes or 2 * prepared.nbytes > backend.free_on_gpu():
        return None
    rows = np.arange(prepared.shots)
    copies = range(0, prepared.shots, FRAMES_PER_COPY)
    return backend.to_device(prepared.stored(rows[first : first + FRAMES_PER_COPY]) for first in copies)


def predict_all(model: keras.Model, prepared: PreparedFile) -> dict[str, NDArray[np.float32]]:
    """Return what a network says of all shots of a file, (N, ...) by the name of the head."""
    outputs: dict[str, NDArray[np.float32]] = model.predict(Batches(prepared, PREDICTED_AT_ONCE), verbose=0)
    return outputs


def shuffled(shots: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the rows 0 to `shots` - 1 in the order of `epoch`."""
    return generator(seed, Purpose.ORDER, epoch).permutation(shots)
