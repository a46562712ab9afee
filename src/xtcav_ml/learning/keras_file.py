"""Saving a Keras model to a model file, and loading it.

A model file may come from anywhere. Its network is first outlined, without the memory of its weights, and must be of known
layers, fit the specification, and have as many weights as the file: nothing is allocated by a number that the file declares.
"""

import json
import math
import re
import tempfile
import zipfile
from pathlib import Path

from xtcav_ml.data import model_file
from xtcav_ml.learning import backend, keras_config
from xtcav_ml.learning.backend import keras
from xtcav_ml.learning.layer_plan import CLASS_HEAD, FEATURES_INPUT, FRAME_INPUT, NUMBER_HEAD, Ends
from xtcav_ml.science.spec import LearningSpec

MOST_VALUES = 2**28  # in the output of a layer for one shot: a gigabyte


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


def load_network(path: Path, *, sealed: bool = True) -> tuple[keras.Model, LearningSpec]:
    """Return the model and the specification in a `.keras` file that `save` wrote.

    Raises UserError if it cannot be read, `save` did not write it, or it is not finite and consistent; `sealed` as for
    `read_model_file`.
    """
    parts, spec = model_file.read_model_file(path, sealed=sealed)
    with model_file.refusing_others(path):
        weights = model_file.weight_count(parts[model_file.WEIGHTS_ENTRY])
        config = json.loads(parts[model_file.CONFIG_ENTRY])
        keras_config.require_known(config)
        try:
            with keras.StatelessScope(initialize_variables=False):
                _require_fits(keras.saving.deserialize_keras_object(config, safe_mode=True), Ends.of(spec), weights)
        except Exception:
            keras.utils.clear_session()  # else Keras would allocate the weights of the outline later
            raise
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    if any(layer.compute_dtype in ("bfloat16", "float16") for layer in model.layers):
        backend.allow_half_precision()
    return model, spec


def _require_fits(outline: keras.Model, ends: Ends, weights: int) -> None:
    """Raise ValueError unless a network has these ends and number of weights, and maps that fit into memory."""
    shapes = {FRAME_INPUT: (None, *ends.frame_shape, 1), FEATURES_INPUT: (None, ends.features)}
    shapes |= {CLASS_HEAD: (None, ends.classes), NUMBER_HEAD: (None, ends.numbers)}
    expected = {name: shape for name, shape in shapes.items() if shape[1]}
    found = {name: tuple(tensor.shape) for name, tensor in {**outline.input, **outline.output}.items()}
    if found != expected:
        raise ValueError(f"a network of {found} for {expected}")
    if FRAME_INPUT in expected and (dtype := outline.input[FRAME_INPUT].dtype) != ends.frame_dtype:
        raise ValueError(f"a network for pixels of {dtype}, not {ends.frame_dtype}")
    for layer in outline.layers:
        if math.prod(layer.output.shape[1:]) > MOST_VALUES:
            raise ValueError(f"the layer {layer.name!r} of {layer.output.shape[1:]}")
    count = sum(math.prod(variable.shape) for variable in outline.weights)  # the file has no seeds of dropout
    if count != weights:
        raise ValueError(f"{weights:,} weights for a network of {count:,}")
