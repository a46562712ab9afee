"""A training that is stopped and goes on must end in the very bits of one that was not: weights, best epoch and history."""

import numpy as np
import pytest

from tests.learning.test_fit import PARAMS, Recorder, digest, write
from xtcav_ml.config.train import Augment, Block, Optimizer
from xtcav_ml.learning import checkpoint, fit
from xtcav_ml.learning.checkpoint import Checkpoints, State

IDENTITY = {"parameters": "p", "data": "d", "code": "c"}

DROPOUT = PARAMS.model_copy(
    update={
        "epochs": 5,
        "augment": Augment(shift=(1, 1), gain=0.05, noise=0.1),
        "model": PARAMS.model.model_copy(
            update={
                "blocks": (
                    Block(
                        channels=4,
                        kernel=3,
                        stride=1,
                        pool="max",
                        pool_window=3,
                        pool_stride=2,
                        batch_norm=True,
                        dropout=0.2,
                    ),
                ),
                "hidden_dropout": 0.3,
            }
        ),
    }
)
"""A network whose result depends on random numbers drawn while it trains, and on running averages."""

ADAM = Optimizer(
    name="adam", learning_rate=0.01, momentum=0.9, schedule="plateau", patience=1, decay_rate=0.5, decay_steps=1
)
SGD = DROPOUT.optimizer


@pytest.fixture(scope="module")
def sets(tmp_path_factory, keras_ready):
    folder = tmp_path_factory.mktemp("prepared")
    with write(folder / "train.h5", 45, 0) as train, write(folder / "validation.h5", 20, 1) as validation:
        yield train, validation


@pytest.fixture(scope="module", params=[SGD, ADAM], ids=["sgd", "adam-plateau"])
def whole(request, sets):
    """Parameters, and what an uninterrupted training gives."""
    params = DROPOUT.model_copy(update={"optimizer": request.param})
    return params, fit.fit(*sets, params)


def stopped(sets, params, folder, epoch):
    """Train until `epoch` is done, as if killed then."""
    kept = Checkpoints(folder, IDENTITY)
    with pytest.raises(fit.StopTraining):
        fit.fit(*sets, params, [Recorder(stop_after=epoch)], kept)


@pytest.mark.parametrize("epochs", [(4,), (1, 3)])
def test_resumed_is_uninterrupted_to_the_last_bit(sets, whole, tmp_path, epochs):
    params, expected = whole
    for epoch in epochs:
        stopped(sets, params, tmp_path, epoch)
    heard = Recorder()
    found = fit.fit(*sets, params, [heard], Checkpoints(tmp_path, IDENTITY))
    assert found.history == expected.history
    assert found.best_epoch == expected.best_epoch
    assert digest(found.model) == digest(expected.model)
    assert heard.resumed == (epochs[-1], [])
    assert [epoch for epoch, _ in heard.epochs] == [1, 2, 3, 4, 5]  # a listener that begins anew hears all


def test_a_training_stopped_after_its_last_epoch_is_only_finished(sets, whole, tmp_path):
    params, expected = whole
    fit.fit(*sets, params, [], Checkpoints(tmp_path, IDENTITY))
    heard = Recorder()
    found = fit.fit(*sets, params, [heard], Checkpoints(tmp_path, IDENTITY))
    assert heard.steps == []
    assert digest(found.model) == digest(expected.model)


@pytest.mark.parametrize("lost", ["seeds", "optimizer", "running averages", "order"])
def test_without_any_one_part_of_the_state_it_is_another_training(sets, tmp_path, monkeypatch, lost):
    """Negative control: what is saved is needed, and the tests above would notice if it were not."""
    expected = fit.fit(*sets, DROPOUT)
    stopped(sets, DROPOUT, tmp_path, 2)
    state = Checkpoints(tmp_path, IDENTITY).load()
    variables, optimizer = list(state.variables), list(state.optimizer)
    if lost == "seeds":
        seeds = [i for i, v in enumerate(variables) if v.shape == (2,) and v.dtype.kind in "iu"]
        assert seeds
        for i in seeds:
            variables[i] = np.array([1, 0], variables[i].dtype)
    elif lost == "optimizer":
        optimizer = [np.zeros_like(v) if v.dtype == np.float32 and v.ndim else v for v in optimizer]
    elif lost == "running averages":
        variables = [np.zeros_like(v) if v.shape == (4,) and (v != 0).all() else v for v in variables]
    else:
        monkeypatch.setattr(fit.SetEpoch, "on_epoch_begin", lambda self, epoch, logs=None: None)
    broken = State(state.history, variables, optimizer, state.best)
    monkeypatch.setattr(Checkpoints, "load", lambda self: broken)
    found = fit.fit(*sets, DROPOUT, [], Checkpoints(tmp_path / "other", IDENTITY))
    assert found.history != expected.history


def some_state(epochs, value=1.0):
    arrays = [np.full((2, 3), value, np.float32), np.array([7, 8], np.uint32)]
    return State([{"val_accuracy": 0.5}] * epochs, arrays, arrays[:1], arrays)


def test_the_last_two_are_kept_and_the_newest_is_taken(tmp_path):
    kept = Checkpoints(tmp_path, IDENTITY)
    for epoch in (1, 2, 3):
        kept.save(some_state(epoch, epoch))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["epoch-000002.ckpt", "epoch-000003.ckpt"]
    found = Checkpoints(tmp_path, IDENTITY).load()
    assert len(found.history) == 3
    assert found.variables[0].tolist() == [[3.0] * 3] * 2
    assert found.variables[1].dtype == np.uint32
    kept.clear()
    assert kept.load() is None


def test_a_damaged_file_costs_one_epoch(tmp_path):
    kept = Checkpoints(tmp_path, IDENTITY)
    kept.save(some_state(1))
    kept.save(some_state(2))
    newest = tmp_path / "epoch-000002.ckpt"
    content = newest.read_bytes()
    choose = np.random.default_rng(0)
    broken = [content[: len(content) // 2], b"", content[:30], content + b"x"]
    for place in choose.integers(0, len(content), 60):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(choose.integers(0, 8))
        broken.append(bytes(flipped))
    for damaged in broken:
        newest.write_bytes(damaged)
        assert len(kept.load().history) == 1
        assert kept.refused == ["epoch-000002.ckpt is damaged"]


@pytest.mark.parametrize("name", IDENTITY)
def test_a_state_of_another_training_is_refused_by_name(sets, tmp_path, name):
    Checkpoints(tmp_path, {**IDENTITY, name: "other"}).save(some_state(2))
    kept = Checkpoints(tmp_path, IDENTITY)
    assert kept.load() is None
    assert kept.refused == [f"epoch-000002.ckpt is of a training with other {name}"]
    heard = Recorder()
    fit.fit(*sets, PARAMS.model_copy(update={"epochs": 1}), [heard], kept)
    assert heard.resumed == (0, kept.refused)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-000001.ckpt"]
    assert len(Checkpoints(tmp_path, IDENTITY).load().history) == 1  # the new training's own, though of fewer epochs


def test_newer_files_that_are_damaged_do_not_push_out_what_is_saved_now(tmp_path):
    kept = Checkpoints(tmp_path, IDENTITY)
    kept.save(some_state(1))
    for epoch in (8, 9):
        (tmp_path / f"epoch-{epoch:06d}.ckpt").write_bytes(b"torn")
    again = Checkpoints(tmp_path, IDENTITY)
    assert len(again.load().history) == 1
    again.save(some_state(2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-000001.ckpt", "epoch-000002.ckpt"]
    assert len(Checkpoints(tmp_path, IDENTITY).load().history) == 2


def test_a_full_disk_leaves_the_last_good_state(tmp_path, monkeypatch):
    kept = Checkpoints(tmp_path, IDENTITY)
    kept.save(some_state(1))

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.atomic, "_fsync", full)
    with pytest.raises(OSError, match="No space left"):
        kept.save(some_state(2))
    monkeypatch.undo()
    assert len(kept.load().history) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-000001.ckpt"]
