"""Networks of half precision, in a process that has computed nothing else: test_half_precision starts it."""

import numpy as np
import pytest

from tests.learning.test_fit import PARAMS
from tests.learning.test_saliency import frames, layers, network
from xtcav_ml.learning import backend, fit, keras_file, saliency
from xtcav_ml.learning.batches import Batches
from xtcav_ml.learning.layer_plan import CLASS_HEAD


def test_it_learns_and_answers_in_float32_also_when_loaded(sets, tmp_path):
    fitted = fit.fit(*sets, PARAMS.model_copy(update={"precision": "mixed_bfloat16", "epochs": 12}))
    assert max(row["val_accuracy"] for row in fitted.history) > 0.9
    assert fitted.model.get_layer("conv1").compute_dtype == "bfloat16"
    assert all(weights.dtype == "float32" for weights in fitted.model.trainable_weights)
    keras_file.save(fitted.model, sets[0].spec, tmp_path / "model.keras")
    loaded, _ = keras_file.load_network(tmp_path / "model.keras")
    assert loaded.predict(Batches(sets[1], 8), verbose=0)[CLASS_HEAD].dtype == np.float32


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_saliency_maps_are_roughly_those_of_float32(keras_ready, precision):
    model = network([layers.Conv2D(4, 1, activation="relu", name="conv")])
    with backend.precision(precision):
        mixed = network([layers.Conv2D(4, 1, activation="relu", name="conv", dtype=precision)], dtype=precision)
    arguments = frames(3), CLASS_HEAD, np.zeros(3, int)
    found, expected = saliency.maps(mixed, *arguments), saliency.maps(model, *arguments)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())
