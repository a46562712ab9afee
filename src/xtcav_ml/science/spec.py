"""What a prepared file and a model say about themselves, so that nothing else is needed to use them."""

import json
from dataclasses import dataclass
from typing import Self

from pydantic import TypeAdapter

from xtcav_ml.config.prepare import Pixels, PrepareParams, Step
from xtcav_ml.science.images import Dark, Preprocessing


@dataclass(frozen=True)
class Meaning:
    """What is learned from what: names of datasets of the raw files, and what is done to a frame."""

    label: str | None
    classes: tuple[str, ...]
    regression: tuple[str, ...]
    features: tuple[str, ...]
    preprocessing: Preprocessing

    @classmethod
    def of(cls, prepare: PrepareParams, raw_shape: tuple[int, int], dark: Dark | None) -> Self:
        """Return what params.yaml says, of raw frames of `raw_shape`, with the dark frame that was measured."""
        preprocessing = Preprocessing(prepare.images, prepare.pixels, raw_shape, dark)
        return cls(prepare.label, prepare.classes, prepare.regression, prepare.features, preprocessing)

    def to_json(self) -> str:
        """Return everything but the dark frame."""
        shown = self.preprocessing
        return json.dumps(
            {
                "label": self.label,
                "classes": self.classes,
                "regression": self.regression,
                "features": self.features,
                "steps": [step.model_dump() for step in shown.steps],
                "pixels": shown.pixels.model_dump(),
                "raw_shape": shown.raw_shape,
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes, dark: Dark | None) -> Self:
        """Return what `to_json` wrote, with its dark frame."""
        tree = json.loads(text)
        preprocessing = Preprocessing(
            steps=TypeAdapter(tuple[Step, ...]).validate_json(json.dumps(tree["steps"])),
            pixels=Pixels.model_validate(tree["pixels"]),
            raw_shape=(tree["raw_shape"][0], tree["raw_shape"][1]),
            dark=dark,
        )
        classes, regression, features = (tuple(tree[key]) for key in ("classes", "regression", "features"))
        return cls(tree["label"], classes, regression, features, preprocessing)
