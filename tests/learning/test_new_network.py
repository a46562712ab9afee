"""A network that somebody adds: one function that returns a plan, and its name. All that follows from a plan is there."""

import numpy as np
import pytest

from tests.learning.test_fit import PARAMS, write
from xtcav_ml.learning import fit, layer_plan
from xtcav_ml.learning.batches import Batches
from xtcav_ml.learning.layer_plan import LayerSpec
from xtcav_ml.pipeline import validate
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import describe


def residual(model, frame, features):
    """A block beside which its input goes on unchanged, and the mean of each channel over the frame."""
    block, key = model.blocks[0], "train.model.blocks.0.kernel"
    first = layer_plan.conv(frame, "conv1", block.channels, block.kernel, block.stride, key)
    (relu,) = layer_plan.activated(first, "conv1", block.activation, batch_norm=False)
    second = layer_plan.conv(relu, "conv2", block.channels, block.kernel, 1, key)
    total = LayerSpec("Add", "add", (second.name, relu.name), relu.shape, operations=relu.shape[0] * relu.shape[1])
    mean = LayerSpec("GlobalAveragePooling2D", "mean", (total.name,), (block.channels,))
    joined = [layer_plan.join(mean, features)] if features else []
    return [first, relu, second, total, mean, *joined]


@pytest.fixture(autouse=True)
def added(monkeypatch):
    monkeypatch.setitem(layer_plan.NETWORKS, "residual", residual)


def named(params, name, **block):
    blocks = (params.model.blocks[0].model_copy(update=block),)
    return params.model_copy(update={"model": params.model.model_copy(update={"name": name, "blocks": blocks})})


def test_it_trains(tmp_path, keras_ready):
    params = named(PARAMS, "residual").model_copy(update={"epochs": 1})
    with write(tmp_path / "train.h5", 24, 0) as train, write(tmp_path / "validation.h5", 12, 1) as validation:
        fitted = fit.fit(train, validation, params)
        answers = fitted.model.predict(Batches(validation, 8), verbose=0)[layer_plan.CLASS_HEAD]
    np.testing.assert_allclose(answers.sum(axis=1), 1, rtol=1e-5)
    expected = layer_plan.plan_layers(params.model, layer_plan.Ends((8, 10), "int16", 0, 2, 0))
    assert fitted.model.count_params() - 3 == layer_plan.parameter_count(expected)  # mean, variance and count of pixels


def test_it_is_described(params, capsys):
    describe.describe_network(params.model_copy(update={"train": named(params.train, "residual")}))
    lines = capsys.readouterr().out.splitlines()
    for name in ("conv2", "add", "output"):
        assert any(name in line for line in lines)


def test_what_does_not_fit_is_refused_by_validate(params, tmp_path):
    for train, part in (
        (named(params.train, "residual", kernel=500, stride=2), "train.model.blocks.0.kernel: "),
        (named(params.train, "residul"), "Fix: set it to residual"),
    ):
        with pytest.raises(UserError, match=part):
            validate.validate_params(params.model_copy(update={"train": train}), tmp_path / "valid")
    assert not (tmp_path / "valid").exists()
