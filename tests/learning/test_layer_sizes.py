import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from xtcav_ml.config.base import read_tree
from xtcav_ml.config.train import Block, Model
from xtcav_ml.learning import layer_sizes, networks
from xtcav_ml.system.errors import UserError

NOTES = Model(
    name="convnet",
    standardize="all",
    blocks=(
        Block(channels=8, kernel=8, stride=1, pool="max", pool_window=13, pool_stride=10),
        Block(channels=8, kernel=6, stride=1, pool="max", pool_window=13, pool_stride=10),
    ),
    hidden=(10,),
    initial_sd=0.03,
    l1=0.0,
    l2=0.0,
)


def ends(shape, classes=4, features=0, numbers=0):
    return layer_sizes.Ends(shape, "int16", features, classes, numbers)


ONE = networks.Scale(np.array(0, np.float32), np.array(1, np.float32))


def test_sizes_are_those_that_the_notes_print():
    layers = layer_sizes.layers(NOTES, ends((726, 568)))
    shapes = {layer.name: layer.shape for layer in layers}
    assert shapes["conv1"] == (726, 568, 8)
    assert shapes["pool1"] == (73, 57, 8)
    assert shapes["pool2"] == (8, 6, 8)
    assert layer_sizes.parameter_count(layers) == 6726
    assert [layer.parameters for layer in layers[-2:]] == [3850, 44]


blocks = st.builds(
    Block,
    channels=st.integers(1, 4),
    kernel=st.integers(1, 9),
    stride=st.integers(1, 4),
    pool=st.sampled_from(["max", "average", "none"]),
    batch_norm=st.booleans(),
    dropout=st.sampled_from([0.0, 0.3]),
    activation=st.sampled_from(["relu", "silu"]),
    pool_window=st.integers(1, 6),
    pool_stride=st.integers(1, 5),
)


@pytest.mark.usefixtures("keras_ready")
@settings(max_examples=25, deadline=None)
@given(
    st.lists(blocks, min_size=1, max_size=3),
    st.lists(st.integers(1, 9), max_size=2),
    st.integers(8, 40),
    st.integers(8, 40),
    st.integers(0, 3),
    st.sampled_from([(3, 0), (0, 2), (2, 3)]),
)
def test_keras_builds_exactly_these_layers(chosen, hidden, rows, columns, features, learned):
    model = NOTES.model_copy(update={"blocks": tuple(chosen), "hidden": tuple(hidden)})
    try:
        wanted = ends((rows, columns), learned[0], features, learned[1])
        expected = layer_sizes.layers(model, wanted)
    except UserError:
        return  # refused before anything is built; the next test says when
    several = [
        networks.Scale(np.zeros(count, np.float32), np.ones(count, np.float32)) for count in (features, learned[1])
    ]
    built = networks.convnet(model, wanted, networks.Scales(ONE, *several), seed=1)
    for layer in expected:
        assert built.get_layer(layer.name).output.shape[1:] == layer.shape
        weights = built.get_layer(layer.name).trainable_variables
        assert sum(int(np.prod(variable.shape)) for variable in weights) == layer.parameters
    assert sum(int(v.shape.num_elements()) for v in built.trainable_variables) == layer_sizes.parameter_count(expected)


def test_operations_and_memory_are_those_counted_by_hand():
    layers = {layer.name: layer for layer in layer_sizes.layers(NOTES, ends((726, 568)))}
    assert layers["conv1"].operations == 2 * (8 * 8 + 1) * 8 * 726 * 568
    assert layers["pool2"].operations == 13 * 13 * 8 * 8 * 6
    assert layers["hidden1"].operations == 2 * (8 * 6 * 8 + 1) * 10
    assert 32 * layers["conv1"].memory / 2**20 == pytest.approx(402.70, abs=0.01)  # as the notes print it


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("pool_window", 58, r"blocks\.1\.pool_window: .* 29 x 37 map .* got 58; choose at most 57"),
        ("kernel", 58, r"blocks\.1\.kernel: .* 29 x 37 map .* got 58"),
    ],
)
def test_what_does_not_fit_its_map_is_refused(field, value, said):
    blocks = (NOTES.blocks[0], NOTES.blocks[1].model_copy(update={field: value}))
    with pytest.raises(UserError, match=said):
        layer_sizes.layers(NOTES.model_copy(update={"blocks": blocks}), ends((284, 363)))
    fitting = (
        blocks[0],
        blocks[1].model_copy(update={field: 57}),
    )  # its edge still meets the map's, where it is padded
    assert layer_sizes.layers(NOTES.model_copy(update={"blocks": fitting}), ends((284, 363)))


def test_the_shipped_network_fits_the_shipped_frames(params):
    tree = read_tree(ROOT / "params.yaml")
    rows, columns = tree["data"]["frame_shape"]
    assert layer_sizes.layers(params.train.model, ends((rows // 2, columns // 2)))


def test_memory_grows_with_the_batch_and_the_maps():
    layers = layer_sizes.layers(NOTES, ends((726, 568)))
    maps = 726 * 568 * 8
    for fused in (False, True):
        sizes = [layer_sizes.step_memory(layers, batch, ends((726, 568)), fused=fused) for batch in (32, 64, 128)]
        assert sizes[2] - sizes[1] == 2 * (sizes[1] - sizes[0])
        assert (sizes[0] > 32 * maps * 4 * 2) is not fused


def test_only_what_keeps_order_is_fused():
    block = NOTES.blocks[0]
    assert layer_sizes.fusible(block, "float32")
    assert not layer_sizes.fusible(block, "mixed_bfloat16")
    for change in ({"batch_norm": True}, {"activation": "gelu"}, {"pool": "average"}, {"pool": "none"}):
        assert not layer_sizes.fusible(block.model_copy(update=change), "float32")
