import numpy as np
import pytest

from tests.conftest import write_prepared_file
from tests.learning.test_fit import PARAMS
from xtcav_ml.config.prepare import Pixels
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import backend, fit, saliency
from xtcav_ml.learning.backend import keras
from xtcav_ml.learning.layer_plan import CLASS_HEAD, FEATURES_INPUT, FRAME_INPUT, NUMBER_HEAD
from xtcav_ml.science import bunch

layers = keras.layers


def network(x, *, frame=(4, 6), features=0, dtype=None):
    """A network of the layers `x` before `flatten`, with the ends of ours."""
    inputs = {FRAME_INPUT: keras.Input((*frame, 1), name=FRAME_INPUT, dtype="int16")}
    y = layers.Rescaling(0.5, name="standardize", dtype=dtype)(inputs[FRAME_INPUT])
    for layer in x:
        y = layer(y)
    y = layers.Flatten(name="flatten")(y)
    if features:
        inputs[FEATURES_INPUT] = keras.Input((features,), name=FEATURES_INPUT)
        y = layers.Concatenate(name="join")([y, inputs[FEATURES_INPUT]])
    outputs = {
        CLASS_HEAD: layers.Dense(3, activation="softmax", name=CLASS_HEAD)(y),
        NUMBER_HEAD: layers.Rescaling(7.0, name="in_units")(layers.Dense(2, name=NUMBER_HEAD)(y)),
    }
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=weights.shape) for weights in model.get_weights()])
    return model


def frames(count, seed=1, shape=(4, 6)):
    return {FRAME_INPUT: np.random.default_rng(seed).integers(0, 9, (count, *shape, 1)).astype(np.int16)}


def score(model, inputs, head, unit):
    """The output before the softmax, of a class above the mean of all, as numpy."""
    last = model.get_layer(head)
    before = keras.Model(model.input, last.input).predict_on_batch(inputs)
    outputs = before @ np.asarray(last.kernel) + np.asarray(last.bias)
    return outputs[:, unit] - (outputs.mean(axis=1) if head == CLASS_HEAD else 0)


def spot(shape, row, column, background=3, height=50):
    """A frame with one bright pixel."""
    frame = np.full((1, *shape, 1), background, np.int16)
    frame[0, row, column] = background + height
    return {FRAME_INPUT: frame}


NETWORKS = {
    "even kernels": lambda: [
        layers.Conv2D(3, 8, padding="same", activation="relu"),
        layers.Conv2D(3, 6, padding="same"),
    ],
    "strides": lambda: [layers.Conv2D(3, 4, 2, "same"), layers.ReLU(), layers.Conv2D(2, 4, 3, "same")],
    "pooled": lambda: [layers.Conv2D(2, 8, padding="same"), layers.ReLU(), layers.MaxPooling2D(13, 10, "same")],
    "valid": lambda: [layers.Conv2D(2, 5), layers.Activation("tanh"), layers.AveragePooling2D(4)],
    "separable": lambda: [layers.MaxPooling2D(2), layers.SeparableConv2D(3, 3, padding="same")],
    "none": list,
}
"""Layers before `flatten`, made when they are asked for: Keras must be configured before the first."""


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("row", "column"), [(11, 13), (6, 20)])
def test_one_spot_is_found_at_its_place_whatever_the_kernels_strides_and_padding(keras_ready, name, row, column):
    model = network(NETWORKS[name](), frame=(20, 30))
    found = np.abs(saliency.maps(model, spot((20, 30), row, column), NUMBER_HEAD, np.array([1])))
    assert found.shape == (1, 20, 30)
    assert np.unravel_index(found[0].argmax(), (20, 30)) == (row, column)
    found[0, row, column] = 0
    assert not found.any()
    assert np.unravel_index(bunch.smooth(np.eye(40)[20] * np.eye(40)[13][:, None]).argmax(), (40, 40)) == (13, 20)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("head", "unit"), [(CLASS_HEAD, 2), (NUMBER_HEAD, 0)])
def test_a_map_adds_up_to_the_difference_of_the_scores(keras_ready, name, head, unit, monkeypatch):
    monkeypatch.setattr(saliency, "STEPS", 200)
    model, inputs = network(NETWORKS[name](), frame=(20, 30)), frames(1, shape=(20, 30))
    empty = {FRAME_INPUT: np.full_like(inputs[FRAME_INPUT], np.median(inputs[FRAME_INPUT]))}
    expected = score(model, inputs, head, unit) - score(model, empty, head, unit)
    found = saliency.maps(model, inputs, head, np.array([unit])).sum()
    assert found == pytest.approx(float(expected[0]), rel=0.02, abs=0.02)


def test_of_a_linear_network_it_is_each_pixel_by_its_weight(keras_ready):
    model, inputs = network([]), frames(2)
    by_place = model.get_layer(NUMBER_HEAD).get_weights()[0].reshape(4, 6, 2)
    beyond = 0.5 * (
        inputs[FRAME_INPUT][..., 0] - np.floor(np.median(inputs[FRAME_INPUT], axis=(1, 2, 3)))[:, None, None]
    )
    found = saliency.maps(model, inputs, NUMBER_HEAD, np.array([0, 1]))
    np.testing.assert_allclose(found, beyond * by_place.transpose(2, 0, 1), atol=1e-5)


def test_what_the_network_does_not_look_at_adds_nothing(keras_ready):
    model = network([layers.Conv2D(1, 3, padding="same", name="conv")], frame=(12, 12))
    kernel, bias = model.get_layer(NUMBER_HEAD).get_weights()
    kernel.reshape(12, 12, 2)[:, 5:] = 0
    model.get_layer(NUMBER_HEAD).set_weights([kernel, bias])
    found = saliency.maps(model, frames(1, shape=(12, 12)), NUMBER_HEAD, np.array([0]))
    assert found[0, :, :6].any()
    assert not found[0, :, 6:].any()  # the kernel has three columns


def test_a_sure_network_looks_where_an_unsure_one_does(keras_ready):
    model = network([layers.Conv2D(3, 1, name="conv")])
    unsure = saliency.maps(model, frames(4), CLASS_HEAD, np.ones(4, int))
    kernel, bias = model.get_layer(CLASS_HEAD).get_weights()
    model.get_layer(CLASS_HEAD).set_weights([1e4 * kernel, 1e4 * bias])
    probabilities = model.predict_on_batch(frames(4))[CLASS_HEAD]
    assert set(probabilities.flat) == {0, 1}  # the softmax has no gradient left
    found = saliency.maps(model, frames(4), CLASS_HEAD, np.ones(4, int))
    np.testing.assert_allclose(found / 1e4, unsure, atol=1e-4)


def test_features_join_and_do_not_disturb(keras_ready):
    model = network([layers.Conv2D(2, 1, activation="relu", name="conv")], features=2)
    inputs = frames(3) | {FEATURES_INPUT: np.random.default_rng(2).normal(size=(3, 2)).astype(np.float32)}
    other = inputs | {FEATURES_INPUT: inputs[FEATURES_INPUT] + 1}  # they are added after the map
    found, again = (saliency.maps(model, each, CLASS_HEAD, np.zeros(3, int)) for each in (inputs, other))
    assert found.shape == (3, 4, 6)
    assert found.tolist() == again.tolist()


def striped(path, count, seed):
    """Write frames of which every other one has a bright column, anywhere; return the file and the columns."""
    rng = np.random.default_rng(seed)
    labels, columns = np.arange(count) % 2, rng.integers(1, 9, count)
    stored = rng.normal(100, 3, (count, 8, 10))
    stored[np.arange(count), :, columns] += 30 * labels[:, np.newaxis]
    steps, pixels = ({"step": "subtract_dark"},), Pixels(dtype="int16", quantum=0.05)
    path = write_prepared_file(path, stored.astype(np.int16), labels, steps=steps, pixels=pixels)
    return PreparedFile(path), columns


def test_a_trained_network_looks_at_what_it_was_taught(keras_ready, tmp_path):
    """The class is whether there is a bright column, and what speaks for it is there."""
    whole = {"pool": "average", "pool_window": 10, "pool_stride": 10}
    model = PARAMS.model.model_copy(update={"blocks": (PARAMS.model.blocks[0].model_copy(update=whole),), "hidden": ()})
    (train, _), (validation, columns) = striped(tmp_path / "a.h5", 48, 0), striped(tmp_path / "b.h5", 24, 1)
    with train, validation:
        fitted = fit.fit(train, validation, PARAMS.model_copy(update={"model": model, "epochs": 8}))
        inputs = {FRAME_INPUT: validation.stored(np.arange(1, 24, 2))[..., np.newaxis]}
    assert fitted.history[fitted.best_epoch - 1]["val_accuracy"] == 1
    found = saliency.maps(fitted.model, inputs, CLASS_HEAD, np.ones(12, int))
    assert found.shape == (12, 8, 10)
    assert found.sum(axis=1).argmax(axis=1).tolist() == columns[1::2].tolist()


def test_the_gradient_of_a_known_function(keras_ready):
    values = np.array([[1.0, -2.0], [3.0, 0.5]], np.float32)
    np.testing.assert_allclose(backend.gradient(lambda x: x**3, values), 3 * values**2)
