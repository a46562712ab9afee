"""Sheets of test frames: samples, means, mistakes, and where the network looks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.figures.drawing import write_png
from xtcav_ml.figures.frames import Grid, Picture, sheet
from xtcav_ml.learning import saliency
from xtcav_ml.learning.backend import keras
from xtcav_ml.learning.layer_plan import CLASS_HEAD, FEATURES_INPUT, FRAME_INPUT, NUMBER_HEAD
from xtcav_ml.science import bunch

FRAMES_PER_CLASS = 4
MOST_IN_MEAN = 100  # frames of a mean one
READ_AT_ONCE = 32  # frames


TITLES = {
    "frames": "test frames as the network sees them",
    "mean_frames": "mean frame of each label, and of its mistakes",
    "mistakes": "worst mistakes: the most confident of each label, the largest errors of each number",
    "saliency": "where the network looks when it is right: red speaks for the label or a higher number, blue against",
}
"""Titles of the sheets of frames."""

Outputs = Mapping[str, NDArray[np.float32]]  # of the network for all test shots, by the name of the head


@dataclass(frozen=True)
class Shown:
    """What pictures of test frames show."""

    test: PreparedFile
    grid: Grid
    outputs: Outputs

    def pictures(self, rows: NDArray[np.int64], captions: Sequence[str]) -> list[Picture]:
        """Return frames of the shots `rows`, each with its caption (of N) and the numbers of run and shot."""
        shots = zip(self.test.column("run")[rows], self.test.column("run.index")[rows], strict=True)
        below = [f"{captions[row]}\nrun {run}, shot {index}" for row, (run, index) in zip(rows, shots, strict=True)]
        return [Picture(frame, text, self.grid) for frame, text in zip(self.test.images(rows), below, strict=True)]

    def explained(
        self, model: keras.Model, rows: NDArray[np.int64], captions: Sequence[str], head: str, unit: int
    ) -> list[Picture]:
        """Return the pictures of `pictures`, each with the evidence for unit `unit` of layer `head`."""
        if not len(rows):
            return []
        inputs: dict[str, NDArray[Any]] = {FRAME_INPUT: self.test.stored(rows)[..., np.newaxis]}
        if self.test.spec.features:
            inputs[FEATURES_INPUT] = self.test.features[rows]
        maps = bunch.smooth(saliency.maps(model, inputs, head, np.full(len(rows), unit)))
        pictures = self.pictures(rows, captions)
        return [replace(picture, evidence=seen) for picture, seen in zip(pictures, maps, strict=True)]

    def mean(self, rows: NDArray[np.int64], what: str) -> list[Picture]:
        """Return the mean frame of the first shots of `rows`, beams on one another; nothing if there are none."""
        rows = rows[:MOST_IN_MEAN]
        blocks = (self.test.images(rows[i : i + READ_AT_ONCE]) for i in range(0, len(rows), READ_AT_ONCE))
        each = (frame for block in blocks for frame in block)
        frame = bunch.mean_frame(each, self.test.frame_shape) if len(rows) else None
        return [] if frame is None else [Picture(frame, f"{what}\nmean of {len(rows)}", self.grid)]


def draw_frames(shown: Shown, model: keras.Model, folder: Path) -> None:
    """Draw samples, mean frames, the worst mistakes, and where the network looks in frames that it predicts rightly."""
    test = shown.test
    sheets: dict[str, list[tuple[str, list[Picture]]]] = {"mistakes": [], "saliency": []}
    if test.classes:
        sheets |= {"frames": [], "mean_frames": []}
        probabilities = shown.outputs[CLASS_HEAD]
        predicted, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
        captions = [f"predicted {test.classes[i]} {p:.1%}" for i, p in zip(predicted, sure, strict=True)]
    for value, name in enumerate(test.classes):
        members = np.flatnonzero(test.labels == value)
        right, wrong = members[predicted[members] == value], members[predicted[members] != value]
        worst = wrong[np.argsort(-sure[wrong], kind="stable")][:FRAMES_PER_CLASS]
        sheets["frames"].append((name, shown.pictures(members[:FRAMES_PER_CLASS], captions)))
        sheets["mean_frames"].append((name, shown.mean(members, "all") + shown.mean(wrong, "mistakes")))
        sheets["mistakes"].append((name, shown.pictures(worst, captions)))
        sheets["saliency"].append((name, shown.explained(model, right[:FRAMES_PER_CLASS], captions, CLASS_HEAD, value)))
    for value, name in enumerate(test.spec.regression):
        truth, numbers = test.targets[:, value], shown.outputs[NUMBER_HEAD][:, value]
        captions = [f"predicted {p:.4g}\nmeasured {t:.4g}" for t, p in zip(truth, numbers, strict=True)]
        error = np.abs(numbers - truth)
        by_error = np.argsort(error, kind="stable")[: np.isfinite(truth).sum()]  # NaN is last
        sheets["mistakes"].append((name, shown.pictures(by_error[::-1][:FRAMES_PER_CLASS], captions)))
        near = by_error[:FRAMES_PER_CLASS]
        sheets["saliency"].append((name, shown.explained(model, near, captions, NUMBER_HEAD, value)))
    for name, rows in sheets.items():
        write_png(folder / f"{name}.png", sheet(rows, TITLES[name]))
