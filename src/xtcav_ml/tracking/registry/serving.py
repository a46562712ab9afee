"""The model as MLflow serves it: raw camera frames in, probabilities and numbers with their names out.

MLflow calls `_load_pyfunc` with the path of the model file that `xtcav train` wrote; nothing is pickled, and nothing of it is
read before the whole folder is as its manifest says.
"""

from pathlib import Path
from typing import Any, NoReturn

import mlflow
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xtcav_ml.config.schema import NO_FRAME
from xtcav_ml.learning.layer_plan import FRAME_INPUT
from xtcav_ml.learning.predictor import NO_CLASS, Prediction, Predictor
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system.http_limits import Refused
from xtcav_ml.tracking.registry import manifest, packaging, request_body

DECIMALS = 6  # of a probability, as in predictions.csv


class ShotModel:
    """What MLflow calls."""

    def __init__(self, path: Path, *, threads: int | None = None, sealed: bool = False) -> None:
        self.predictor = Predictor(path, threads=threads, sealed=sealed)  # in the registry the manifest has its digest

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return a row a shot: the probability of each class to DECIMALS, the name of the likeliest, and each number.

        After these come what the model states: whether the set has each class, and the ends of each number's interval.

        A shot of which a feature is not finite has None in all of them: a server answers in JSON, which has no NaN.
        `data` are raw frames (N, rows, columns) int16 or, for a model with features, a dict of `frame`, if it has frames,
        and of each feature by its name, (N,). Arrays of objects are what MLflow read from JSON, checked as `xtcav serve` checks
        it. Raises MlflowException, status 400 over HTTP, for another type or a name that is missing, and ValueError if the
        shapes are not the model's.
        """
        spec = self.predictor.spec
        inputs = data if isinstance(data, dict) else {FRAME_INPUT: data}
        absent = [name for name in request_body.input_names(spec) if name not in inputs]
        if absent:
            _refuse(f"inputs: incomplete (found {sorted(inputs)}, expected {absent[0]!r} too). Fix: add it")
        try:
            given = inputs[FRAME_INPUT] if spec.has_frames else _no_frames(inputs[spec.features[0]])
            frames = _frames(np.asarray(given), spec.preprocessing.raw_shape)
            features = [_feature(name, np.asarray(inputs[name]), len(frames)) for name in spec.features]
        except Refused as refused:
            _refuse(str(refused))
        outputs = self.predictor.predict(frames, np.stack(features, axis=1) if features else None)
        columns: dict[str, Any] = {
            f"probability of {name}": _or_none(outputs.probabilities[:, i].astype(float).round(DECIMALS))
            for i, name in enumerate(spec.classes)
        }
        if spec.classes:
            names = [None if number == NO_CLASS else spec.classes[number] for number in outputs.predicted]
            columns["predicted"] = pd.Series(names, dtype=object)  # of texts, pandas would make None a NaN
        numbers = outputs.numbers.astype(str).astype(float)  # with as many digits as float32 has
        columns |= {name: _or_none(numbers[:, i]) for i, name in enumerate(spec.regression)}
        columns |= _stated(spec, outputs)
        return pd.DataFrame(columns)


def _stated(spec: LearningSpec, outputs: Prediction) -> dict[str, Any]:
    """Return the columns of sets and intervals, by the names of `packaging.sets` and `ends`; none of a model without them."""
    said, columns = spec.statements, dict[str, Any]()
    if said is None:
        return columns
    known = outputs.predicted != NO_CLASS
    for name, values in zip(packaging.sets(spec), said.sets(outputs.probabilities).T, strict=True):
        columns[name] = values if known.all() else np.where(known, values.astype(object), np.array(None))
    for names, ends in zip(packaging.ends(spec), said.ends(outputs.numbers), strict=True):
        digits = ends.astype(str).astype(float)
        columns |= {name: _or_none(digits[:, i]) for i, name in enumerate(names)}
    return columns


def _no_frames(feature: Any) -> NDArray[np.int16]:
    """Return the frames of a model that has none, one for each value of a feature."""
    return np.empty((np.asarray(feature).size, *NO_FRAME), np.int16)


def _frames(values: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.int16]:
    if values.dtype == object or (values.dtype.kind == "U" and values.ndim == 1):  # of JSON
        return request_body.frames_of(values.tolist(), shape)
    if values.dtype != np.int16:
        _refuse(f"frames: not as the camera gives them (found {values.dtype}, expected int16). Fix: do not scale them")
    return values


def _feature(name: str, values: NDArray[Any], count: int) -> NDArray[np.float32]:
    if values.dtype == object:
        return request_body.feature_of(name, values.tolist(), count)
    if values.dtype.kind not in "iuf":
        _refuse(f"{name}: not numbers (found {values.dtype}, expected float32)")
    return values.astype(np.float32).reshape(-1)


def _refuse(message: str) -> NoReturn:
    raise mlflow.MlflowException.invalid_parameter_value(message)


def _or_none(values: NDArray[np.float64]) -> NDArray[Any]:
    """Return values (N,), or objects with None for those that are not finite."""
    finite = np.isfinite(values)
    return values if finite.all() else np.where(finite, values.astype(object), np.array(None))


def _load_pyfunc(path: str) -> ShotModel:
    file = Path(path)
    manifest.verify(file.parent.parent, f"the model of {file.parent.parent}")
    return ShotModel(file)
