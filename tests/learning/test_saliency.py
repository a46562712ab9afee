import numpy as np
import pytest

from tests.conftest import write_prepared_file
from tests.learning.test_fit import PARAMS
from xtcav_ml.config.prepare import Pixels
from xtcav_ml.data.prepared import PreparedFile
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
    """The class is whether there is a bright column, and the map is brightest there.

    Where only the mean of each channel decides, the maps of frames with and without a column can differ nowhere else: this
    holds for any initial weights.
    """
    whole = {"pool": "average", "pool_window": 10, "pool_stride": 10}
    model = PARAMS.model.model_copy(update={"blocks": (PARAMS.model.blocks[0].model_copy(update=whole),), "hidden": ()})
    (train, _), (validation, columns) = striped(tmp_path / "a.h5", 48, 0), striped(tmp_path / "b.h5", 24, 1)
    with train, validation:
        fitted = fit.fit(train, validation, PARAMS.model_copy(update={"model": model, "epochs": 8}))
        inputs = {FRAME_INPUT: validation.stored(np.arange(1, 24, 2))[..., np.newaxis]}
    assert fitted.history[fitted.best_epoch - 1]["val_accuracy"] == 1
    found = saliency.maps(fitted.model, inputs, CLASS_HEAD, np.ones(12, int))
    assert found.shape == (12, 8, 10)
    for one, column in zip(found, columns[1::2], strict=True):
        near = np.abs(np.arange(10) - column) <= 1  # the kernel has three columns
        assert one[:, near].mean() > 2 * one[:, ~near].mean()


def test_the_gradient_of_a_known_function(keras_ready):
    values = np.array([[1.0, -2.0], [3.0, 0.5]], np.float32)
    np.testing.assert_allclose(backend.gradient(lambda x: x**3, values), 3 * values**2)
