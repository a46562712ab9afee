"""Models in MLflow."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import mlflow
import numpy as np

from xtcav_ml.meaning import Meaning


def log_model(run_id: str, path: Path, meaning: Meaning, requirements: Sequence[str]) -> None:
    """Store a model file as a function of raw frames, with its signature; module `served` loads it.

    One that the run has already is not stored again. Raises what the store raises.
    """
    client = mlflow.MlflowClient()
    experiment = client.get_run(run_id).info.experiment_id
    there = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    if any(model.status == "READY" for model in there):
        return
    schema = mlflow.types.Schema
    frames = mlflow.types.TensorSpec(np.dtype(np.int16), (-1, *meaning.preprocessing.raw_shape), "frame")
    features = [mlflow.types.TensorSpec(np.dtype(np.float32), (-1,), name) for name in meaning.features]
    if not features:
        frames = mlflow.types.TensorSpec(np.dtype(np.int16), (-1, *meaning.preprocessing.raw_shape))
    outputs = [mlflow.types.ColSpec("double", f"probability of {name}") for name in meaning.classes]
    outputs += [mlflow.types.ColSpec("string", "predicted")] if meaning.classes else []
    outputs += [mlflow.types.ColSpec("double", name) for name in meaning.regression]
    with mlflow.start_run(run_id=run_id, log_system_metrics=False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*input example")  # it would be a camera frame written as text
        mlflow.pyfunc.log_model(
            name="model",
            loader_module="xtcav_ml.served",
            data_path=str(path),
            signature=mlflow.models.ModelSignature(schema([frames, *features]), schema(outputs)),
            pip_requirements=list(requirements),
        )
