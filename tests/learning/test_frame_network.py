"""Networks without Keras beside the same ones of Keras, for random plans."""

import zipfile
from unittest import mock

import keras
import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from tests.learning.test_fit import PARAMS
from xtcav_ml.config.train import LayerBlock, Model
from xtcav_ml.learning import frame_network, layer_plan, networks
from xtcav_ml.learning.layer_plan import CLASS_HEAD, FEATURES_INPUT, FRAME_INPUT, NUMBER_HEAD, Ends
from xtcav_ml.learning.normalization import Statistics, TrainingStatistics
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.helpers import Helpers

PARTS = ("config.json", "model.weights.h5")
SHOTS = 3
HELPERS = Helpers(3)
BLOCKS = st.builds(
    LayerBlock,
    channels=st.integers(1, 9),
    kernel=st.integers(1, 5),
    stride=st.just(1),
    pool=st.sampled_from(["max", "max", "none"]),
    pool_window=st.integers(1, 7),
    pool_stride=st.integers(1, 5),
    batch_norm=st.booleans(),
    activation=st.sampled_from(["relu", "tanh"]),
    dropout=st.sampled_from([0.0, 0.3]),
)
BLOCKS = st.tuples(BLOCKS, st.integers(1, 3)).map(
    lambda pair: pair[0].model_copy(update={"stride": min(pair[1], pair[0].kernel)})
)
MODELS = st.builds(
    Model,
    name=st.just("convnet"),
    standardize=st.sampled_from(["all", "pixel"]),
    coarsen=st.sampled_from([1, 1, 2, 3]),
    blocks=st.lists(BLOCKS, min_size=1, max_size=2).map(tuple),
    hidden=st.lists(st.integers(1, 20), max_size=2).map(tuple),
    hidden_activation=st.sampled_from(["relu", "tanh", "silu"]),
    hidden_batch_norm=st.booleans(),
    hidden_dropout=st.sampled_from([0.0, 0.2]),
    initializer=st.sampled_from(["he", "glorot"]),
    initial_bias=st.sampled_from([0.0, 0.2]),
    l1=st.just(0.0),
    l2=st.sampled_from([0.0, 0.1]),
)
ENDS = st.builds(
    Ends,
    frame_shape=st.tuples(st.integers(14, 30), st.integers(14, 30)),
    frame_dtype=st.sampled_from(["int16", "float16", "float32"]),
    features=st.integers(0, 4),
    classes=st.sampled_from([0, 2, 4]),
    numbers=st.integers(1, 4),
)


def built(model, ends, noise=0.0):
    """Return a network of Keras with random weights and statistics."""
    rng, shape = np.random.default_rng(0), ends.frame_shape if model.standardize == "pixel" else ()

    def statistics(shape):
        return Statistics(*(rng.uniform(1, 2, shape).astype(np.float32) for _ in range(2)))

    known = TrainingStatistics(statistics(shape), statistics((ends.features,)), statistics((ends.numbers,)))
    network = networks.build(layer_plan.plan_layers(model, ends, noise=noise), model, known, seed=1)
    for layer in network.layers:
        if "BatchNormalization" in str(type(layer)):
            layer.set_weights(
                [rng.uniform(-1, 1.5, values.shape) ** (1 + (i == 3)) for i, values in enumerate(layer.get_weights())]
            )
    return network


def parts_of(network, folder):
    network.save(folder / "model.keras")
    with zipfile.ZipFile(folder / "model.keras") as file:
        return {name: file.read(name) for name in PARTS}


def inputs_of(ends):
    rng = np.random.default_rng(1)
    frames = rng.normal(1.5, 2, (SHOTS, *ends.frame_shape)).astype(ends.frame_dtype)
    return frames, rng.normal(1.5, 1, (SHOTS, ends.features)).astype(np.float32)


def by_keras(network, frames, features):
    given = {FRAME_INPUT: frames[..., None]} | ({FEATURES_INPUT: features} if features.shape[1] else {})
    return {name: np.asarray(values) for name, values in network.predict_on_batch(given).items()}


def in_double(network, model, ends, noise):
    """Return the network with the same weights in double precision, up to its outputs."""
    keras.config.set_dtype_policy("float64")
    try:
        exact = built(model, ends, noise)
    finally:
        keras.config.set_dtype_policy("float32")
    exact.set_weights(network.get_weights())
    return exact


@settings(max_examples=max(2, settings().max_examples // 10))
@given(model=MODELS, ends=ENDS, noise=st.sampled_from([0.0, 0.1]))
def test_same_as_keras(keras_ready, tmp_path_factory, model, ends, noise):
    """To 1e-6, in probabilities and of the largest number, in double precision: Keras' own rounding exceeds that."""
    try:
        network = built(model, ends, noise)
    except UserError:  # a window beyond its map
        reject()
    with mock.patch.object(frame_network, "LEAST_SHARED", 0):
        own = frame_network.read_network(parts_of(network, tmp_path_factory.mktemp("own")), ends)
    frames, features = inputs_of(ends)
    expected = by_keras(in_double(network, model, ends, noise), frames, features)
    assert own is not None
    for i in range(SHOTS):
        found = own(frames[i], features[i])
        assert found.keys() == expected.keys()
        for name, values in found.items():
            assert values.dtype == np.float32
            size = 1.0 if name == CLASS_HEAD else max(1.0, np.abs(expected[NUMBER_HEAD]).max())
            np.testing.assert_allclose(values, expected[name][i], rtol=0, atol=1e-6 * size)
        for name, values in own(frames[i], features[i], HELPERS).items():
            assert values.tobytes() == found[name].tobytes()


SMALL = Ends((20, 24), "int16", 0, 2, 0)


def changed(**block):
    """Return the tests' model, with another first block."""
    first, *others = PARAMS.model.blocks
    return PARAMS.model.model_copy(update={"blocks": (first.model_copy(update=block), *others)})


def test_small_convolutions_are_not_shared(keras_ready, tmp_path):
    own = frame_network.read_network(parts_of(built(PARAMS.model, SMALL), tmp_path), SMALL)
    with mock.patch.object(HELPERS, "share") as share:
        own(np.zeros(SMALL.frame_shape, np.int16), np.empty(0, np.float32), HELPERS)
    assert not share.called


@pytest.mark.parametrize(
    "block", [{"activation": "gelu"}, {"pool": "average"}, {"activation": "silu", "pool": "max"}], ids=str
)
def test_other_layers_are_left_to_keras(keras_ready, tmp_path, block):
    block = {"pool_window": 2, "pool_stride": 2, **block}
    assert frame_network.read_network(parts_of(built(changed(**block), SMALL), tmp_path), SMALL) is None


@pytest.mark.parametrize(
    "changes",
    [{"frame_shape": (24, 20)}, {"frame_dtype": "float32"}, {"classes": 3}, {"numbers": 1}, {"features": 1}],
    ids=str,
)
def test_a_network_of_other_ends_is_left_to_keras(keras_ready, tmp_path, changes):
    parts = parts_of(built(PARAMS.model, SMALL), tmp_path)
    assert frame_network.read_network(parts, SMALL) is not None
    other = Ends(**{**vars(SMALL), **changes})
    assert frame_network.read_network(parts, other) is None


def test_a_large_dense_layer_is_left_to_keras(keras_ready, tmp_path, monkeypatch):
    parts = parts_of(built(PARAMS.model, SMALL), tmp_path)
    monkeypatch.setattr(frame_network, "MOST_WEIGHTS", 3)
    assert frame_network.read_network(parts, SMALL) is None


def test_too_little_memory_is_an_error_and_no_wrong_number(keras_ready, tmp_path):
    own = frame_network.read_network(parts_of(built(PARAMS.model, SMALL), tmp_path), SMALL)
    convolution = next(step.function for step in own._steps if step.name == "conv1")
    convolution._worker = convolution._worker._replace(run=lambda address: None)
    with pytest.raises(MemoryError):
        own(np.zeros(SMALL.frame_shape, np.int16), np.empty(0, np.float32))
