"""The description that a prepared file and a model carry, so that they can be used without anything else."""

import json
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from pydantic import ValidationError

from xtcav_ml.config.base import Section
from xtcav_ml.config.data import Side
from xtcav_ml.config.prepare import DARK_STEPS, Name, Pixels, PrepareParams, Step
from xtcav_ml.config.schema import NO_FRAME
from xtcav_ml.science.images import Dark, Preprocessing
from xtcav_ml.science.statements import Statements
from xtcav_ml.system.errors import UserError


class _Meaning(Section):
    """The text that describes it all."""

    label: Name | None
    classes: tuple[Name, ...]
    regression: tuple[Name, ...]
    features: tuple[Name, ...]
    steps: tuple[Step, ...]
    pixels: Pixels
    raw_shape: tuple[Side, Side] | tuple[Literal[0], Literal[0]]
    statements: Statements | None = None


@dataclass(frozen=True)
class LearningSpec:
    """Names of the datasets to learn and of the inputs, the preprocessing of a frame, and what a trained model states."""

    label: str | None
    classes: tuple[str, ...]
    regression: tuple[str, ...]
    features: tuple[str, ...]
    preprocessing: Preprocessing
    statements: Statements | None = None  # None for a prepared file, and for models of before there were any

    @classmethod
    def of(cls, prepare: PrepareParams, raw_shape: tuple[int, int], dark: Dark | None) -> Self:
        """Return the specification by params.yaml, for raw frames of `raw_shape`, with the measured dark frame.

        Raises UserError as `require_inputs`.
        """
        require_inputs(prepare, raw_shape)
        preprocessing = Preprocessing(prepare.images, prepare.pixels, raw_shape, dark)
        return cls(prepare.label, prepare.classes, prepare.regression, prepare.features, preprocessing)

    @property
    def has_frames(self) -> bool:
        """Return whether a shot has a frame; without one the features are all that the network sees."""
        return self.preprocessing.raw_shape != NO_FRAME

    @property
    def size(self) -> str:
        """Return the size of a shot's input in words: of the prepared frame, or without one the number of features."""
        rows, columns = self.preprocessing.shape
        return f"{rows} x {columns}" if self.has_frames else f"{len(self.features)} features"

    def same_as(self, other: "LearningSpec") -> bool:
        """Return whether another specification is the same, with its dark frame, whatever a model states."""
        darks = [spec.preprocessing.dark for spec in (self, other)]
        frames = [np.empty(0) if dark is None else np.stack([dark.mean, dark.noise]) for dark in darks]
        meant, meant_too = (replace(spec, statements=None).to_json() for spec in (self, other))
        return meant == meant_too and np.array_equal(frames[0], frames[1])

    def to_json(self) -> str:
        """Return everything but the dark frame."""
        tree: dict[str, object] = {name: getattr(self, name) for name in ("label", "classes", "regression", "features")}
        tree["steps"] = [step.model_dump() for step in self.preprocessing.steps]
        tree["pixels"] = self.preprocessing.pixels.model_dump()
        tree["raw_shape"] = self.preprocessing.raw_shape
        return json.dumps(tree | ({"statements": self.statements.model_dump()} if self.statements else {}))

    @classmethod
    def from_json(cls, text: str | bytes, dark: Dark | None) -> Self:
        """Return the specification that `to_json` wrote, with its dark frame. Raises ValueError if they break a rule."""
        try:
            meaning = _Meaning.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        preprocessing = Preprocessing(meaning.steps, meaning.pixels, meaning.raw_shape, dark)
        names = meaning.classes, meaning.regression, meaning.features
        spec = cls(meaning.label, *names, preprocessing, meaning.statements)
        spec._require_consistent()
        return spec

    def _require_consistent(self) -> None:
        """Raise ValueError if the parts do not fit together, or the dark frame is not finite."""
        dark, steps = self.preprocessing.dark, self.preprocessing.steps
        if len(set(self.classes)) != len(self.classes) or (self.label is None) != (not self.classes):
            raise ValueError(f"label {self.label!r} with the classes {self.classes!r}")
        if not (self.classes or self.regression):
            raise ValueError("nothing to learn")
        said = self.statements
        if said is not None and (len(said.least), len(said.half_width)) != (len(self.classes), len(self.regression)):
            raise ValueError("statements of other classes or numbers")
        if not self.has_frames and (steps or dark is not None or not self.features):
            raise ValueError("no frames, and not only features")
        if self.has_frames and min(self.preprocessing.shape) < 1:
            raise ValueError("steps that leave no pixel")
        if dark is None and any(step.step in DARK_STEPS for step in steps):
            raise ValueError("a step that needs a dark frame, and none")
        if dark is not None and not all(
            part.shape == self.preprocessing.raw_shape and np.isfinite(part).all() for part in (dark.mean, dark.noise)
        ):
            raise ValueError("a dark frame of another shape, or that is not finite")


def require_inputs(prepare: PrepareParams, raw_shape: tuple[int, int]) -> None:
    """Raise UserError unless steps prepare the frames of shots that have them, and features alone shots that have none."""
    steps = [step.step for step in prepare.images]
    if raw_shape != NO_FRAME and not steps:
        raise UserError(
            "prepare.images: no step (found [], expected at least one). Fix: add one, or set data.frame_shape: null to learn "
            "from prepare.features alone"
        )
    if raw_shape != NO_FRAME:
        return
    if steps or prepare.dark_run is not None:
        key, found, empty = ("images", ", ".join(steps), "[]") if steps else ("dark_run", str(prepare.dark_run), "null")
        raise UserError(
            f"prepare.{key}: no frames are read (found {found}, expected {empty} as data.frame_shape is null). Fix: set it to "
            f"{empty}, or data.frame_shape to the rows and columns of a frame"
        )
    if not prepare.features:
        raise UserError(
            "prepare.features: nothing to learn from (found [], expected datasets as data.frame_shape is null). Fix: name them"
        )
