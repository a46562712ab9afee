from types import SimpleNamespace

import numpy as np
import pytest

from tests.conftest import write_prepared_file
from tests.learning.test_fit import PARAMS, write
from xtcav_ml.learning import keras_file
from xtcav_ml.pipeline import train


class Stopped(Exception):
    pass


def test_a_state_of_another_device_is_not_gone_on_from(tmp_path, monkeypatch):
    for name in ("train", "validation"):
        frames = np.full((16, 8, 10), 100, np.int16)
        write_prepared_file(tmp_path / f"{name}.h5", frames, np.arange(16) % 2)
    found = []

    def stop(train, validation, params, listeners, checkpoints):
        found.append(checkpoints.identity)
        raise Stopped

    monkeypatch.setattr(train.fit, "fit", stop)
    for device in ("TensorFlow on 1 GPU", "TensorFlow on CPU, 2 threads"):
        monkeypatch.setattr(train.backend, "configure", lambda seed, threads, device=device: device)
        with pytest.raises(Stopped):
            train.train_network(
                PARAMS, tmp_path, tmp_path / "model.keras", tmp_path / "history.jsonl", [], {"code": "c"}
            )
    assert [identity["code"] for identity in found] == ["c", "c"]
    assert found[0] != found[1]


def test_another_coverage_needs_no_epoch_and_changes_no_weight(tmp_path, keras_ready):
    for seed, split in enumerate(("train", "validation")):
        write(tmp_path / f"{split}.h5", 40, seed).close()
    short, epochs, models = PARAMS.model_copy(update={"epochs": 2}), [], []
    listener = SimpleNamespace(
        on_step=lambda *_: None, on_resume=lambda *_: None, on_epoch=lambda *values: epochs.append(values[2])
    )
    for coverage in (0.9, 0.6):
        params, model = short.model_copy(update={"coverage": coverage}), tmp_path / "model.keras"
        train.train_network(params, tmp_path, model, tmp_path / "history.jsonl", [listener], {"data": "d"})
        models.append(keras_file.load_network(model))
    assert [bool(seconds) for seconds in epochs] == [True, True, False, False]
    (first, said), (second, other) = models
    assert (said.statements.coverage, other.statements.coverage) == (0.9, 0.6)
    assert said.statements.least != other.statements.least
    for one, another in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, another)


VALUES = {f"{of}_{name}": 0.5 for of in ("train", "val") for name in ("loss", "accuracy", "squared_error")}


@pytest.mark.parametrize(
    ("names", "width", "shown", "hidden"),
    [
        (["loss", "accuracy"], 80, ["rate", "passed", "left"], ["gradient"]),
        (["loss", "accuracy", "squared_error"], 80, ["sq. error"], ["passed"]),
        (["loss", "accuracy", "squared_error"], 200, ["rate", "passed", "left", "gradient"], []),
    ],
)
def test_a_row_an_epoch_is_as_wide_as_the_terminal_at_most(tmp_path, capsys, names, width, shown, hidden):
    values = {name: value for name, value in VALUES.items() if name.partition("_")[2] in names}
    values |= {"learning_rate": 0.01, "gradient_norm": 1.5}
    with (tmp_path / "history.jsonl").open("w") as history:
        log = train._Log(history, lambda steps: None, [], 4)
        log.screen.width = width
        log.on_epoch(1, values, {})  # done before an interruption
        log.on_epoch(2, values, {"train": 96, "validation": 4, "checkpoint": 1, "read": 9})  # with the start
        log.on_epoch(3, values, {"train": 60, "validation": 4, "checkpoint": 1, "read": 9})
    over, headings, first, second, third = capsys.readouterr().out.splitlines()
    assert max(map(len, (over, headings, first, second, third))) <= width
    assert len(headings) == len(first) == len(second) == len(third)
    assert [name for name in shown if name not in headings] == []
    assert [name for name in hidden if name in headings] == []
    if "passed" in shown:
        assert first.count(" -") == 2
        assert "0:01:41        -" in second
        assert "0:02:46  0:01:05" in third
