"""The model as MLflow serves it: raw camera frames in, probabilities and numbers with their names out.

MLflow calls `_load_pyfunc` with the path of the model file that `xtcav train` wrote; nothing is pickled.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xtcav_ml.models import FRAME
from xtcav_ml.predictor import NONE, Predictor


class ShotModel:
    """What MLflow calls."""

    def __init__(self, path: Path) -> None:
        self.predictor = Predictor(path)

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return a row a shot: the probability of each class, the name of the likeliest, and each number.

        All are missing (NaN) of a shot of which a feature is not finite.

        `data` are raw frames (N, rows, columns) int16 or, for a model with features, a dict of `frame` and of each feature
        by its name, (N,). Raises ValueError if the shapes are not the model's.
        """
        meaning = self.predictor.meaning
        given = data if isinstance(data, dict) else {FRAME: data}
        missing = [name for name in (FRAME, *meaning.features) if name not in given]
        if missing:
            raise ValueError(f"inputs must have {missing[0]!r}, got {sorted(given)}")
        features = [np.asarray(given[name], np.float32).reshape(-1) for name in meaning.features]
        found = self.predictor.predict(np.asarray(given[FRAME]), np.stack(features, axis=1) if features else None)
        columns: dict[str, Any] = {
            f"probability of {name}": found.probabilities[:, i].astype(float) for i, name in enumerate(meaning.classes)
        }
        if meaning.classes:
            columns["predicted"] = [None if number == NONE else meaning.classes[number] for number in found.predicted]
        columns |= {name: found.numbers[:, i].astype(float) for i, name in enumerate(meaning.regression)}
        return pd.DataFrame(columns)


def _load_pyfunc(path: str) -> ShotModel:
    return ShotModel(Path(path))
