"""A model file as a folder that MLflow loads and serves: signature, input example, pinned libraries, manifest.

The folder holds no code, which would run before anything could be verified. Its loader, `serving`, is that of the installed
package; `xtcav-ml` is on no package index, where the name would be anybody's: the commit to install is in the metadata.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.types import ColSpec, Schema, TensorSpec
from numpy.typing import NDArray

from xtcav_ml.data.predictions import HIGHEST, INCLUDED, LOWEST
from xtcav_ml.learning.layer_plan import FRAME_INPUT
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.tracking.registry import manifest
from xtcav_ml.tracking.registry.request_body import input_names

DATA, EXAMPLE = "data", "input_example.json"


def write_package(
    folder: Path,
    path: Path,
    spec: LearningSpec,
    requirements: Sequence[str],
    identity: Mapping[str, str],
    commit: str,
) -> str:
    """Create `folder` from the model file `path`, with the `commit` to install; return the SHA-256 of its manifest.

    `identity` are MLflow's `model_id`, `run_id`, `artifact_path` and `utc_time_created`.
    """
    # With parameters, none here, MLflow's example is the body of a request as well: one file of a full frame in digits.
    info = {"artifact_path": EXAMPLE, "serving_input_path": EXAMPLE, "type": "ndarray", "params": "true"}
    model = mlflow.models.Model(
        **identity,
        model_uuid=identity["model_id"],
        saved_input_example_info=info,
        metadata={"git.commit": commit, "inputs": meant(spec), **stated(spec)},
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*input example")  # MLflow would write it twice, a line a pixel
        mlflow.pyfunc.save_model(
            path=str(folder),
            mlflow_model=model,
            loader_module="xtcav_ml.tracking.registry.serving",
            data_path=str(path),
            signature=signature(spec),
            pip_requirements=list(requirements),
        )
    (folder / EXAMPLE).write_text(json.dumps({"inputs": example(spec), "params": {}}, separators=(",", ":")))
    return manifest.write_manifest(folder)


def signature(spec: LearningSpec) -> mlflow.models.ModelSignature:
    """Return what the model takes, frames and features by name, and the columns it returns.

    Inputs are of type object: to another one MLflow casts what it reads from JSON, before the model sees that a pixel was a
    fraction, a boolean or a text. `serving` refuses what is not as `meant` says.
    """
    names = input_names(spec) if spec.features else (None,)
    taken = [TensorSpec(np.dtype(object), (-1,), name) for name in names]
    # Of a shot of which a feature is missing, all outputs are.
    always = not spec.features
    outputs = [ColSpec("double", f"probability of {name}", required=always) for name in spec.classes]
    outputs += [ColSpec("string", "predicted", required=always)] if spec.classes else []
    outputs += [ColSpec("double", name, required=always) for name in spec.regression]
    outputs += [ColSpec("boolean", name, required=always) for name in sets(spec)]
    outputs += [ColSpec("double", name, required=False) for names in ends(spec) for name in names]
    return mlflow.models.ModelSignature(Schema(taken), Schema(outputs))


def sets(spec: LearningSpec) -> list[str]:
    """Return the names of the columns that say which classes the set of a shot has; none without statements."""
    return [INCLUDED + name for name in spec.classes] if spec.statements else []


def ends(spec: LearningSpec) -> tuple[list[str], list[str]]:
    """Return the names of the columns with the lower and the upper ends of the numbers' intervals; none without statements."""
    numbers = spec.regression if spec.statements else ()
    return [LOWEST + name for name in numbers], [HIGHEST + name for name in numbers]


def meant(spec: LearningSpec) -> dict[str, str]:
    """Return type and shape of each input by name."""
    shape = (-1, *spec.preprocessing.raw_shape)
    return {name: f"int16 {shape}" if name == FRAME_INPUT else "float32 (-1,)" for name in input_names(spec)}


def stated(spec: LearningSpec) -> dict[str, Any]:
    """Return how often sets and intervals are true, and the temperature of the probabilities, where a model has them."""
    said = spec.statements
    return {} if said is None else {"coverage": said.coverage, "temperature": said.temperature}


def example(spec: LearningSpec) -> list[Any] | dict[str, Any]:
    """Return one input as lists."""
    one = arrays(spec)
    return {name: array.tolist() for name, array in one.items()} if isinstance(one, dict) else one.tolist()


def arrays(spec: LearningSpec) -> NDArray[np.int16] | dict[str, NDArray[Any]]:
    """Return one input: the mean dark frame, or zeros where none was measured; every feature is 0."""
    dark = spec.preprocessing.dark
    frame = np.zeros(spec.preprocessing.raw_shape) if dark is None else np.rint(dark.mean)
    frames = frame.astype(np.int16)[np.newaxis]
    features = {name: np.zeros(1, np.float32) for name in spec.features}
    framed = {FRAME_INPUT: frames} if spec.has_frames else {}
    return {**framed, **features} if features else frames
