"""The description that a prepared file and a model carry, so that they can be used without anything else."""

import json
from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import ValidationError

from xtcav_ml.config.base import Section
from xtcav_ml.config.data import Side
from xtcav_ml.config.prepare import DARK_STEPS, Name, Pixels, PrepareParams, Step
from xtcav_ml.science.images import Dark, Preprocessing


class _Meaning(Section):
    """The text that describes it all."""

    label: Name | None
    classes: tuple[Name, ...]
    regression: tuple[Name, ...]
    features: tuple[Name, ...]
    steps: tuple[Step, ...]
    pixels: Pixels
    raw_shape: tuple[Side, Side]


@dataclass(frozen=True)
class LearningSpec:
    """Names of the datasets to learn and of the inputs, and the preprocessing of a frame."""

    label: str | None
    classes: tuple[str, ...]
    regression: tuple[str, ...]
    features: tuple[str, ...]
    preprocessing: Preprocessing

    @classmethod
    def of(cls, prepare: PrepareParams, raw_shape: tuple[int, int], dark: Dark | None) -> Self:
        """Return the specification by params.yaml, for raw frames of `raw_shape`, with the measured dark frame."""
        preprocessing = Preprocessing(prepare.images, prepare.pixels, raw_shape, dark)
        return cls(prepare.label, prepare.classes, prepare.regression, prepare.features, preprocessing)

    def same_as(self, other: "LearningSpec") -> bool:
        """Return whether another specification is the same, with its dark frame."""
        darks = [spec.preprocessing.dark for spec in (self, other)]
        frames = [np.empty(0) if dark is None else np.stack([dark.mean, dark.noise]) for dark in darks]
        return self.to_json() == other.to_json() and np.array_equal(frames[0], frames[1])

    def to_json(self) -> str:
        """Return everything but the dark frame."""
        tree: dict[str, object] = {name: getattr(self, name) for name in ("label", "classes", "regression", "features")}
        tree["steps"] = [step.model_dump() for step in self.preprocessing.steps]
        tree["pixels"] = self.preprocessing.pixels.model_dump()
        return json.dumps(tree | {"raw_shape": self.preprocessing.raw_shape})

    @classmethod
    def from_json(cls, text: str | bytes, dark: Dark | None) -> Self:
        """Return the specification that `to_json` wrote, with its dark frame. Raises ValueError if they break a rule."""
        try:
            meaning = _Meaning.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        preprocessing = Preprocessing(meaning.steps, meaning.pixels, meaning.raw_shape, dark)
        spec = cls(meaning.label, meaning.classes, meaning.regression, meaning.features, preprocessing)
        spec._require_consistent()
        return spec

    def _require_consistent(self) -> None:
        """Raise ValueError if the parts do not fit together, or the dark frame is not finite."""
        dark, steps = self.preprocessing.dark, self.preprocessing.steps
        if len(set(self.classes)) != len(self.classes) or (self.label is None) != (not self.classes):
            raise ValueError(f"label {self.label!r} with the classes {self.classes!r}")
        if not (self.classes or self.regression):
            raise ValueError("nothing to learn")
        if min(self.preprocessing.shape) < 1:
            raise ValueError("steps that leave no pixel")
        if dark is None and any(step.step in DARK_STEPS for step in steps):
            raise ValueError("a step that needs a dark frame, and none")
        if dark is not None and not all(
            part.shape == self.preprocessing.raw_shape and np.isfinite(part).all() for part in (dark.mean, dark.noise)
        ):
            raise ValueError("a dark frame of another shape, or that is not finite")
