"""Saving a Keras model to a model file, and loading it."""

import re
import tempfile
import zipfile
from pathlib import Path

from xtcav_ml.data import model_file
from xtcav_ml.learning.backend import keras
from xtcav_ml.science.spec import LearningSpec


def save(model: keras.Model, spec: LearningSpec, path: Path) -> None:
    """Write `model` and `spec` to a `.keras` file: whole or not at all, and the same bytes for the same weights."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "model.keras"
        model.save(written)
        with zipfile.ZipFile(written) as source:
            parts = {name: source.read(name) for name in source.namelist()}
    parts["config.json"] = _renumbered(parts["config.json"].decode()).encode()
    model_file.write_model_file(parts, spec, path)


def _renumbered(config: str) -> str:
    """Number shared objects in order: Keras names them by their address in memory, another one in every process.

    Keras has no switch that turns the names off, and each layer shares at least the policy of its precision.
    """
    addresses = list(dict.fromkeys(re.findall(r'"shared_object_id": (\d+)', config)))
    return re.sub(r'(?<="shared_object_id": )\d+', lambda match: str(addresses.index(match[0])), config)


def load_network(path: Path) -> tuple[keras.Model, LearningSpec]:
    """Return the model and the specification in a `.keras` file that `save` wrote.

    Code inside such a file is refused (Keras' safe mode). Raises UserError if it cannot be read or `save` did not write it.
    """
    spec = model_file.read_spec(path)
    with model_file.refusing_others(path):
        return keras.saving.load_model(path, compile=False, safe_mode=True), spec
