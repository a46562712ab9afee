from dataclasses import replace
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import ROOT
from xtcav_ml.config.base import read_tree
from xtcav_ml.config.train import LayerBlock, Model
from xtcav_ml.learning import layer_plan, networks
from xtcav_ml.learning.layer_plan import LayerSpec
from xtcav_ml.learning.normalization import Statistics, TrainingStatistics
from xtcav_ml.system.errors import UserError

NOTES = Model(
    name="convnet",
    standardize="all",
    blocks=(
        LayerBlock(channels=8, kernel=8, stride=1, pool="max", pool_window=13, pool_stride=10),
        LayerBlock(channels=8, kernel=6, stride=1, pool="max", pool_window=13, pool_stride=10),
    ),
    hidden=(10,),
    initial_sd=0.03,
    l1=0.0,
    l2=0.0,
)


def ends(shape, classes=4, features=0, numbers=0):
    return layer_plan.Ends(shape, "int16", features, classes, numbers)


def statistics(*shapes):
    return TrainingStatistics(
        *(Statistics(np.zeros(shape, np.float32), np.ones(shape, np.float32)) for shape in shapes)
    )


def test_sizes_are_those_that_the_notes_print():
    layers = layer_plan.plan_layers(NOTES, ends((726, 568)))
    shapes = {layer.name: layer.shape for layer in layers}
    assert shapes["conv1"] == (726, 568, 8)
    assert shapes["pool1"] == (73, 57, 8)
    assert shapes["pool2"] == (8, 6, 8)
    assert layer_plan.parameter_count(layers) == 6726
    assert [layer.parameters for layer in layer_plan.counted(layers)[-2:]] == [3850, 44]


blocks = st.builds(
    lambda **values: LayerBlock(**values | {"stride": min(values["stride"], values["kernel"])}),
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
@given(
    st.lists(blocks, min_size=1, max_size=3),
    st.lists(st.integers(1, 9), max_size=2),
    st.integers(8, 40),
    st.integers(8, 40),
    st.integers(0, 3),
    st.sampled_from([(3, 0), (0, 2), (2, 3)]),
    st.booleans(),
    st.sampled_from(["all", "pixel"]),
)
def test_keras_builds_exactly_these_layers(chosen, hidden, rows, columns, features, learned, norm, standardize):
    changes = {"hidden_batch_norm": norm, "hidden_dropout": 0.2 * norm, "standardize": standardize}
    model = NOTES.model_copy(update={"blocks": tuple(chosen), "hidden": tuple(hidden), **changes})
    try:
        expected = layer_plan.plan_layers(
            model, ends((rows, columns), learned[0], features, learned[1]), noise=0.1 * norm
        )
    except UserError:
        return  # refused before anything is built; the next test says when
    pixels = (rows, columns) if standardize == "pixel" else ()
    for layers in (expected, layer_plan.fused(expected, "float32")):
        built = networks.build(layers, model, statistics(pixels, features, learned[1]), seed=1)
        assert {layer.name for layer in built.layers} == {spec.name for spec in layers}
        for spec in layers:
            layer = built.get_layer(spec.name)
            output = layer.output[0] if isinstance(layer.output, list | tuple) else layer.output
            assert output.shape[1:] == spec.shape
            assert sum(prod(variable.shape) for variable in layer.trainable_variables) == spec.parameters
        assert layer_plan.parameter_count(layers) == layer_plan.parameter_count(expected)


def test_operations_and_memory_are_those_counted_by_hand():
    layers = {layer.name: layer for layer in layer_plan.plan_layers(NOTES, ends((726, 568)))}
    assert layers["conv1"].operations == 2 * (8 * 8 + 1) * 8 * 726 * 568
    assert layers["pool2"].operations == 13 * 13 * 8 * 8 * 6
    assert layers["hidden1"].operations == 2 * (8 * 6 * 8 + 1) * 10
    assert 32 * layers["conv1"].memory / 2**20 == pytest.approx(402.70, abs=0.01)  # as the notes print it


@pytest.mark.parametrize(
    ("field", "value", "parts"),
    [
        ("pool_window", 58, r"blocks\.1\.pool_window: .*29 x 37.*found 58.*at most 57"),
        ("kernel", 58, r"blocks\.1\.kernel: .*29 x 37.*found 58"),
    ],
)
def test_what_does_not_fit_its_map_is_refused(field, value, parts):
    blocks = (NOTES.blocks[0], NOTES.blocks[1].model_copy(update={field: value}))
    with pytest.raises(UserError, match=parts):
        layer_plan.plan_layers(NOTES.model_copy(update={"blocks": blocks}), ends((284, 363)))
    fitting = (
        blocks[0],
        blocks[1].model_copy(update={field: 57}),
    )  # its edge still meets the map's, where it is padded
    assert layer_plan.plan_layers(NOTES.model_copy(update={"blocks": fitting}), ends((284, 363)))


def test_the_shipped_network_fits_the_shipped_frames(params):
    tree = read_tree(ROOT / "params.yaml")
    rows, columns = tree["data"]["frame_shape"]
    assert layer_plan.plan_layers(params.train.model, ends((rows // 2, columns // 2)))


def test_memory_grows_with_the_batch_and_the_maps():
    layers = layer_plan.plan_layers(NOTES, ends((726, 568)))
    maps = 726 * 568 * 8
    for chosen in (layers, layer_plan.fused(layers, "float32")):
        sizes = [layer_plan.step_memory(chosen, batch) for batch in (32, 64, 128)]
        assert sizes[2] - sizes[1] == 2 * (sizes[1] - sizes[0])
        assert (sizes[0] > 32 * maps * 4 * 2) is (chosen is layers)


@pytest.mark.parametrize("norm", [False, True])
def test_a_fused_layer_takes_the_place_of_all(norm):
    first = NOTES.blocks[0].model_copy(update={"batch_norm": norm})
    model = NOTES.model_copy(update={"blocks": (first, *NOTES.blocks[1:])})
    layers = layer_plan.plan_layers(
        model, ends((726, 568), features=2), noise=0.1
    )  # which come between frame and network
    names = [layer.name for layer in layer_plan.fused(layers, "float32")]
    assert names == [layer.name for layer in layers if layer.name not in ("norm_conv1", "pool1")]


@pytest.mark.parametrize(
    ("changes", "precision", "expected"),
    [
        ({}, "float32", True),
        ({"activation": "tanh"}, "float32", True),
        ({"activation": "gelu"}, "float32", False),  # falls before it rises: the largest is not that of the largest
        ({"batch_norm": True}, "float32", True),
        ({"batch_norm": True, "stride": 2}, "float32", False),
        ({"batch_norm": True, "kernel": 21}, "float32", False),  # memory grows with the fourth power
        ({"batch_norm": True, "pool": "average"}, "float32", False),
        ({"pool": "average"}, "float32", False),
        ({"pool": "none"}, "float32", False),
        ({}, "mixed_bfloat16", False),
    ],
)
def test_only_what_keeps_order_is_fused(changes, precision, expected):
    first = NOTES.blocks[0].model_copy(update=changes)
    layers = layer_plan.plan_layers(NOTES.model_copy(update={"blocks": (first, *NOTES.blocks[1:])}), ends((726, 568)))
    assert (layer_plan.fused(layers, precision) is not layers) is expected


@pytest.mark.parametrize(
    ("changes", "noise", "dtype", "beside", "expected"),
    [
        ({}, 0.0, "int16", False, True),
        ({}, 0.0, "float32", False, True),
        ({}, 0.0, "float16", False, False),
        ({"standardize": "pixel"}, 0.0, "int16", False, False),
        ({}, 0.1, "int16", False, False),
        ({"coarsen": 2}, 0.0, "int16", False, False),
        ({}, 0.0, "int16", True, False),  # another layer needs the standardized frame
    ],
)
def test_the_fused_layer_standardizes_what_two_numbers_do_for(changes, noise, dtype, beside, expected):
    given = replace(ends((726, 568)), frame_dtype=dtype)
    layers = layer_plan.plan_layers(NOTES.model_copy(update=changes), given, noise=noise)
    more = [LayerSpec("GlobalMaxPooling2D", "brightest", ("standardize",), (1,))] if beside else []
    kinds = {layer.name: layer.kind for layer in layer_plan.fused([*layers, *more], "float32")}
    assert kinds["conv1"] == "ConvMaxPool"
    assert (kinds["standardize"] == "PixelStatistics") is expected


def test_a_map_that_another_layer_needs_is_not_fused():
    layers = layer_plan.plan_layers(NOTES, ends((726, 568)))
    beside = LayerSpec("GlobalMaxPooling2D", "brightest", ("relu_conv1",), (8,))
    assert layer_plan.fused([*layers, beside], "float32") == [*layers, beside]
    behind = [replace(layer, inputs=("pool0",)) if layer.name == "conv1" else layer for layer in layers]
    assert layer_plan.fused(behind, "float32") == behind  # its frames would have no gradient


def test_coarser_pixels_shrink_all_that_follows_and_leave_the_first_layer_fused():
    layers = layer_plan.plan_layers(NOTES, ends((726, 568)))
    coarse = layer_plan.plan_layers(NOTES.model_copy(update={"coarsen": 5}), ends((726, 568)))
    assert [layer.name for layer in coarse if layer.name != "coarsen"] == [layer.name for layer in layers]
    sizes = {layer.name: layer.shape for layer in coarse}
    assert (sizes["standardize"], sizes["coarsen"], sizes["conv1"]) == ((726, 568, 1), (145, 113, 1), (145, 113, 8))
    assert "ConvMaxPool" in [layer.kind for layer in layer_plan.fused(coarse, "float32")]
    assert layer_plan.parameter_count(coarse) < layer_plan.parameter_count(layers)
    with pytest.raises(UserError, match=r"train\.model\.coarsen: .*found 60, expected at most 40\)\. Fix: lower it"):
        layer_plan.plan_layers(NOTES.model_copy(update={"coarsen": 60}), ends((40, 60)))


def test_an_unknown_network_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"train\.model\.name: .*'convnte'.*Fix: set it to convnet"):
        layer_plan.plan_layers(NOTES.model_copy(update={"name": "convnte"}), ends((24, 20)))
