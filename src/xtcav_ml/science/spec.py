"""The description that a prepared file and a model carry, so that they can be used without anything else."""

import json
from dataclasses import dataclass
from typing import Self

from pydantic import TypeAdapter

from xtcav_ml.config.prepare import Pixels, PrepareParams, Step
from xtcav_ml.science.images import Dark, Preprocessing


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

    def to_json(self) -> str:
        """Return everything but the dark frame."""
        tree: dict[str, object] = {name: getattr(self, name) for name in ("label", "classes", "regression", "features")}
        tree["steps"] = [step.model_dump() for step in self.preprocessing.steps]
        tree["pixels"] = self.preprocessing.pixels.model_dump()
        return json.dumps(tree | {"raw_shape": self.preprocessing.raw_shape})

    @classmethod
    def from_json(cls, text: str | bytes, dark: Dark | None) -> Self:
        """Return the specification that `to_json` wrote, with its dark frame."""
        tree = json.loads(text)
        preprocessing = Preprocessing(
            steps=TypeAdapter(tuple[Step, ...]).validate_json(json.dumps(tree["steps"])),
            pixels=Pixels.model_validate(tree["pixels"]),
            raw_shape=(tree["raw_shape"][0], tree["raw_shape"][1]),
            dark=dark,
        )
        classes, regression, features = (tuple(tree[key]) for key in ("classes", "regression", "features"))
        return cls(tree["label"], classes, regression, features, preprocessing)
