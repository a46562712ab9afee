import numpy as np
import pytest

from tests.learning.test_fit import PARAMS, write
from xtcav_ml.learning import backend, fit, saliency
from xtcav_ml.learning.backend import keras
from xtcav_ml.learning.layer_plan import CLASS_HEAD, FEATURES_INPUT, FRAME_INPUT, NUMBER_HEAD

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


def scaled(found):
    found = np.maximum(found, 0)
    return found / np.maximum(found.max(axis=(1, 2), keepdims=True), 1e-9)


@pytest.mark.parametrize(("head", "units"), [(CLASS_HEAD, [2, 0, 1]), (NUMBER_HEAD, [1, 1, 0])])
def test_the_map_is_the_sum_of_channels_by_their_mean_gradient(keras_ready, head, units):
    model = network([layers.Conv2D(5, 1, activation="relu", name="conv")])
    inputs = frames(3)
    kernel, bias = model.get_layer("conv").get_weights()
    channels = np.maximum(0.5 * inputs[FRAME_INPUT] * kernel[0, 0] + bias, 0)  # (N, rows, columns, 5)
    by_place = model.get_layer(head).get_weights()[0].reshape(4, 6, 5, -1)
    weights = by_place.mean(axis=(0, 1))[:, units].T  # (N, 5): the gradient of a sum is its factors
    expected = scaled((weights[:, np.newaxis, np.newaxis] * channels).sum(axis=3))
    found = saliency.maps(model, inputs, head, np.array(units))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_without_a_convolution_it_is_the_gradient_of_the_pixels(keras_ready):
    model = network([])
    by_place = model.get_layer(CLASS_HEAD).get_weights()[0].reshape(4, 6, 3)
    found = saliency.maps(model, frames(2), CLASS_HEAD, np.array([0, 2]))
    np.testing.assert_allclose(found, scaled(np.abs(by_place[..., [0, 2]]).transpose(2, 0, 1)), atol=1e-6)


def test_a_sure_network_looks_where_an_unsure_one_does(keras_ready):
    model = network([layers.Conv2D(3, 1, name="conv")])
    unsure = saliency.maps(model, frames(4), CLASS_HEAD, np.ones(4, int))
    kernel, bias = model.get_layer(CLASS_HEAD).get_weights()
    model.get_layer(CLASS_HEAD).set_weights([1e4 * kernel, 1e4 * bias])
    probabilities = model.predict_on_batch(frames(4))[CLASS_HEAD]
    assert set(probabilities.flat) == {0, 1}  # the softmax has no gradient left
    np.testing.assert_allclose(saliency.maps(model, frames(4), CLASS_HEAD, np.ones(4, int)), unsure, atol=1e-4)


def test_where_nothing_speaks_for_the_unit_the_map_is_zero(keras_ready):
    model = network([layers.Conv2D(2, 1, activation="relu", name="conv")])
    kernel, bias = model.get_layer(CLASS_HEAD).get_weights()
    model.get_layer(CLASS_HEAD).set_weights([-np.abs(kernel), bias])
    assert not saliency.maps(model, frames(2), CLASS_HEAD, np.zeros(2, int)).any()


BEFORE = {
    "pooled": lambda: [layers.Conv2D(2, 3, 2, "same"), layers.ReLU(), layers.MaxPooling2D(2), layers.Dropout(0.5)],
    "normalized": lambda: [layers.Conv2D(2, 3, 2, "same"), layers.BatchNormalization(), layers.AveragePooling2D(4)],
    "separable": lambda: [layers.Conv2D(2, 3), layers.MaxPooling2D(2), layers.SeparableConv2D(3, 3, padding="same")],
    "pooled pixels": lambda: [layers.MaxPooling2D(2)],
}
"""Layers before `flatten`, made when they are asked for: Keras must be configured before the first."""


@pytest.mark.parametrize(
    ("name", "shape"), [("pooled", (8, 10)), ("normalized", (8, 10)), ("separable", (7, 9)), ("pooled pixels", (8, 10))]
)
def test_the_map_is_that_of_the_last_convolution_and_not_what_is_pooled_of_it(keras_ready, name, shape):
    model = network(BEFORE[name](), frame=(16, 20))
    found = saliency.maps(model, frames(2, shape=(16, 20)), CLASS_HEAD, np.zeros(2, int))
    assert found.shape == (2, *shape)
    assert found.min() >= 0
    assert found.max() <= 1


def test_features_join_and_do_not_disturb(keras_ready):
    model = network([layers.Conv2D(2, 1, activation="relu", name="conv")], features=2)
    inputs = frames(3) | {FEATURES_INPUT: np.random.default_rng(2).normal(size=(3, 2)).astype(np.float32)}
    found = saliency.maps(model, inputs, CLASS_HEAD, np.zeros(3, int))
    assert found.shape == (3, 4, 6)
    assert saliency.maps(
        model, inputs | {FEATURES_INPUT: inputs[FEATURES_INPUT] + 1}, CLASS_HEAD, np.zeros(3, int)
    ).tolist() == (
        found.tolist()  # they are added after the map
    )


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_gives_the_same_map_roughly(keras_ready, precision):
    model = network([layers.Conv2D(4, 1, activation="relu", name="conv")])
    mixed = network([layers.Conv2D(4, 1, activation="relu", name="conv", dtype=precision)], dtype=precision)
    arguments = frames(3), CLASS_HEAD, np.zeros(3, int)
    found = saliency.maps(mixed, *arguments)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, saliency.maps(model, *arguments), atol=0.1)


def test_a_trained_network_looks_at_what_it_was_taught(keras_ready, tmp_path):
    """The class is the side of the bright column; the map is brighter on the side that has it.

    With this seed: from other initial weights the network may tell the class by where the column is not.
    """
    with write(tmp_path / "train.h5", 45, 0) as train, write(tmp_path / "validation.h5", 20, 1) as validation:
        model = fit.fit(train, validation, PARAMS.model_copy(update={"seed": 5})).model
        inputs = {FRAME_INPUT: validation.stored(np.arange(20))[..., np.newaxis]}
        side = validation.labels
        found = saliency.maps(model, inputs, CLASS_HEAD, side)
    assert found.shape == (20, 8, 10)
    left, right = found[:, :, :5].sum(axis=(1, 2)), found[:, :, 5:].sum(axis=(1, 2))
    on_its_side = np.where(side, right, left) > np.where(side, left, right)
    assert on_its_side[found.any(axis=(1, 2))].mean() > 0.9
    assert found.any(axis=(1, 2)).mean() > 0.4


def test_the_gradient_of_a_known_function(keras_ready):
    values = np.array([[1.0, -2.0], [3.0, 0.5]], np.float32)
    np.testing.assert_allclose(backend.gradient(lambda x: x**3, values), 3 * values**2)
