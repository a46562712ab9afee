"""A training that is stopped and goes on must end in the very bits of one that was not: weights, best epoch and history."""

import functools
import hashlib
import os
import shutil

import numpy as np
import pytest

from tests.learning.test_fit import PARAMS, Recorder, digest
from xtcav_ml.config.train import Augment, LayerBlock, Optimizer
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
                    LayerBlock(
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


class Copier(Recorder):
    """Copies the checkpoints after each epoch to a folder of its number."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_epoch(self, epoch, *values):
        shutil.copytree(self.folder / "kept", self.folder / str(epoch))


@pytest.fixture(scope="module")
def uninterrupted(sets, tmp_path_factory):
    """Return what a training gives that nobody stops, and its states after each epoch; each of the two is trained once."""

    @functools.cache
    def trained(optimizer):
        folder = tmp_path_factory.mktemp("trained")
        params, kept = DROPOUT.model_copy(update={"optimizer": optimizer}), Checkpoints(folder / "kept", IDENTITY)
        return fit.fit(*sets, params, [Copier(folder)], kept), folder

    return trained


@pytest.fixture(params=[pytest.param(SGD, marks=pytest.mark.thorough), ADAM], ids=["sgd", "adam-plateau"])
def whole(request, uninterrupted):
    """Parameters, what an uninterrupted training gives, and its states."""
    return DROPOUT.model_copy(update={"optimizer": request.param}), *uninterrupted(request.param)


def stopped(sets, params, folder, epoch):
    """Train until `epoch` is done, as if killed then."""
    kept = Checkpoints(folder, IDENTITY)
    with pytest.raises(fit.StopTraining):
        fit.fit(*sets, params, [Recorder(stop_after=epoch)], kept)


def test_resumed_is_uninterrupted_to_the_last_bit(sets, whole, tmp_path):
    params, expected, states = whole
    folder = shutil.copytree(states / "1", tmp_path / "states")
    stopped(sets, params, folder, 4)
    heard = Recorder()
    found = fit.fit(*sets, params, [heard], Checkpoints(folder, IDENTITY))
    assert found.history == expected.history
    assert found.best_epoch == expected.best_epoch
    assert digest(found.model) == digest(expected.model)
    assert heard.resumed == (4, [])
    assert [epoch for epoch, _ in heard.epochs] == [1, 2, 3, 4, 5]  # a listener that begins anew hears all


def test_a_training_stopped_after_its_last_epoch_is_only_finished(sets, whole):
    params, expected, states = whole
    heard = Recorder()
    found = fit.fit(*sets, params, [heard], Checkpoints(states / "kept", IDENTITY))
    assert heard.steps == []
    assert digest(found.model) == digest(expected.model)


@pytest.mark.parametrize("lost", ["seeds", "optimizer", "running averages", "order"])
def test_without_any_one_part_of_the_state_it_is_another_training(sets, uninterrupted, tmp_path, monkeypatch, lost):
    """Negative control: what is saved is needed, and the tests above would notice if it were not."""
    expected, states = uninterrupted(ADAM)
    state = Checkpoints(states / "3", IDENTITY).load()[0]
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
        monkeypatch.setattr(fit.Batches, "epoch", property(lambda self: 0, lambda self, epoch: None), raising=False)
    broken = State(state.history, variables, optimizer, state.best)
    monkeypatch.setattr(Checkpoints, "load", lambda self: (broken, []))
    found = fit.fit(*sets, DROPOUT.model_copy(update={"optimizer": ADAM}), [], Checkpoints(tmp_path, IDENTITY))
    assert found.history[:3] == expected.history[:3]
    assert found.history[3:] != expected.history[3:]


def some_state(epochs, value=1.0):
    arrays = [np.full((2, 3), value, np.float32), np.array([7, 8], np.uint32)]
    return State([{"val_accuracy": 0.5}] * epochs, arrays, arrays[:1], arrays)


def test_the_last_two_are_kept_and_the_newest_is_taken(tmp_path):
    kept = Checkpoints(tmp_path, IDENTITY)
    for epoch in (1, 2, 3):
        kept.save(some_state(epoch, epoch))
    assert [path.name for path in sorted(kept.folder.iterdir())] == ["epoch-000002.ckpt", "epoch-000003.ckpt"]
    found, damaged = Checkpoints(tmp_path, IDENTITY).load()
    assert damaged == []
    assert len(found.history) == 3
    assert found.variables[0].tolist() == [[3.0] * 3] * 2
    assert found.variables[1].dtype == np.uint32
    kept.clear()
    assert kept.load() == (None, [])
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_costs_one_epoch(tmp_path):
    kept = Checkpoints(tmp_path, IDENTITY)
    kept.save(some_state(1))
    kept.save(some_state(2))
    newest = kept.folder / "epoch-000002.ckpt"
    content = newest.read_bytes()
    choose = np.random.default_rng(0)
    broken = [content[: len(content) // 2], b"", content[:30], content + b"x"]
    for place in choose.integers(0, len(content), 60):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(choose.integers(0, 8))
        broken.append(bytes(flipped))
    for damaged in broken:
        newest.write_bytes(damaged)
        state, damaged_files = kept.load()
        assert len(state.history) == 1
        assert damaged_files == [f"{newest}: damaged, not used"]


def test_the_states_of_the_training_that_ended_last_are_kept(tmp_path):
    model = tmp_path / "model.keras"
    model.write_bytes(b"weights")
    first, second = (Checkpoints.beside(model, IDENTITY, device) for device in ("CPU", "GPU"))
    for one in (first, second):
        one.save(some_state(2))
        assert one.ended() == ""
        one.end(model)
        assert one.ended() == hashlib.md5(b"weights").hexdigest()
    assert second.remarks() == []
    assert [path.parent for path in tmp_path.rglob("ended")] == [second.folder]
    assert first.ended() == ""
    for path in second.folder.glob("*.ckpt"):
        path.write_bytes(b"torn")
    assert second.ended() == ""


@pytest.mark.parametrize("name", IDENTITY)
def test_a_short_try_leaves_the_states_of_a_long_training_and_says_how_it_differs(tmp_path, name):
    long = Checkpoints(tmp_path, {**IDENTITY, name: "other"})
    long.save(some_state(900))
    short = Checkpoints(tmp_path, IDENTITY)
    assert short.load() == (None, [])
    (remark,) = short.remarks()
    assert all(part in remark for part in (long.folder.name, "kept", "900 epochs", f"other {name}"))
    short.save(some_state(1))
    short.clear()
    state, damaged = Checkpoints(tmp_path, {**IDENTITY, name: "other"}).load()
    assert len(state.history) == 900
    assert damaged == []


def test_a_training_of_another_class_of_processor_is_named_with_both(tmp_path, monkeypatch):
    other, own = (Checkpoints(tmp_path, {**IDENTITY, "environment": name}) for name in ("other", "own"))
    monkeypatch.setattr(checkpoint, "processor_class", lambda: "AVX2")
    other.save(some_state(3))
    assert own.remarks()[0].endswith("3 epochs of a training with other environment")
    monkeypatch.setattr(checkpoint, "processor_class", lambda: "AVX-512")
    assert own.remarks()[0].endswith("with other environment; class of processor: AVX2 there, AVX-512 here")


def test_a_training_that_starts_anew_hears_of_the_others(sets, eager, tmp_path):
    Checkpoints(tmp_path, {**IDENTITY, "data": "other"}).save(some_state(2))
    heard, kept = Recorder(), Checkpoints(tmp_path, IDENTITY)
    fit.fit(*sets, PARAMS.model_copy(update={"epochs": 1}), [heard], kept)
    epochs, (remark,) = heard.resumed
    assert epochs == 0
    assert "other data" in remark
    assert len(kept.load()[0].history) == 1


def saved(folder, name, epochs, second):
    """Save a state of the training `name` whose last change was at `second`."""
    kept = Checkpoints(folder, {**IDENTITY, "parameters": name})
    kept.save(some_state(epochs))
    os.utime(kept.folder, (second, second))
    return kept.folder


def test_short_tries_remove_one_another_but_never_a_longer_training(tmp_path):
    long = saved(tmp_path, "long", 900, 0)
    tries = [saved(tmp_path, f"try {number}", 2, number) for number in range(1, 6)]
    present = Checkpoints(tmp_path, IDENTITY)
    assert [line.split(", ")[0].partition(": ")[2] for line in present.remarks()] == [
        *["kept"] * 3,
        *["kept until this training has as many"] * 2,
    ]
    present.save(some_state(1))
    assert set(tmp_path.iterdir()) == {long, *tries[1:], present.folder}
    present.save(some_state(2))
    assert set(tmp_path.iterdir()) == {long, *tries[2:], present.folder}
    present.save(some_state(900))
    assert set(tmp_path.iterdir()) == {*tries[2:], present.folder}


def test_two_trainings_share_no_file(tmp_path):
    one, other = (Checkpoints(tmp_path, {**IDENTITY, "data": value}) for value in "ab")
    one.save(some_state(1))
    other.save(some_state(1))
    assert len({path.parent for path in tmp_path.rglob("*.ckpt")}) == 2


def test_newer_files_that_are_damaged_do_not_push_out_what_is_saved_now(tmp_path):
    kept = Checkpoints(tmp_path, IDENTITY)
    kept.save(some_state(1))
    for epoch in (8, 9):
        (kept.folder / f"epoch-{epoch:06d}.ckpt").write_bytes(b"torn")
    again = Checkpoints(tmp_path, IDENTITY)
    assert len(again.load()[0].history) == 1
    again.save(some_state(2))
    assert sorted(path.name for path in kept.folder.iterdir()) == ["epoch-000001.ckpt", "epoch-000002.ckpt"]
    assert len(Checkpoints(tmp_path, IDENTITY).load()[0].history) == 2


def test_a_full_disk_leaves_the_last_good_state(tmp_path, monkeypatch):
    kept = Checkpoints(tmp_path, IDENTITY)
    kept.save(some_state(1))

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.atomic, "_fsync", full)
    with pytest.raises(OSError, match="No space left"):
        kept.save(some_state(2))
    monkeypatch.undo()
    assert len(kept.load()[0].history) == 1
    assert [path.name for path in kept.folder.iterdir()] == ["epoch-000001.ckpt"]
