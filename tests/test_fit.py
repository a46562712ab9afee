"""One small data set, really trained on: equality to the last bit is the property that everything later rests on."""

import hashlib

import numpy as np
import pytest

from xtcav_ml import fit, models
from xtcav_ml.batches import Batches, shuffled
from xtcav_ml.errors import UserError
from xtcav_ml.h5io.prepared import Meaning, PreparedFile, write_prepared
from xtcav_ml.params.prepare import Log
from xtcav_ml.params.train import Block, Model, Optimizer, TrainParams

PARAMS = TrainParams(
    seed=3,
    threads=2,
    batch_size=8,
    epochs=6,
    model=Model(
        name="convnet",
        blocks=(Block(channels=4, kernel=3, stride=1, pool="max", pool_window=3, pool_stride=2),),
        hidden=(8,),
        initial_sd=0.3,
        l1=0.0,
        l2=0.001,
    ),
    optimizer=Optimizer(learning_rate=0.1, momentum=0.8, decay_rate=0.5, decay_steps=9),
)


def write(path, count, seed):
    """Frames with a bright column on the left or on the right."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = rng.normal(0, 0.1, (count, 8, 10)).astype(np.float32)
    images[np.arange(count), :, np.where(labels, 7, 2)] += 1
    columns = {"label": labels.astype(np.int8), "run": labels, "run.index": np.arange(count)}
    columns |= {f"evt.{name}": np.arange(count) for name in ("seconds", "nanoseconds", "fiducials")}
    meaning = Meaning("side", ("left", "right"), (Log(step="log"),), (8, 10), None)
    sources = (["x.h5"], np.zeros(count, int), np.arange(count))
    write_prepared(path, meaning, columns, sources, [images], frame_shape=(8, 10), dtype="float16")
    return PreparedFile(path)


@pytest.fixture(scope="module")
def sets(tmp_path_factory, keras_ready):
    folder = tmp_path_factory.mktemp("prepared")
    with write(folder / "train.h5", 45, 0) as train, write(folder / "validation.h5", 20, 1) as validation:
        yield train, validation


@pytest.fixture(scope="module")
def fitted(sets):
    return fit.fit(*sets, PARAMS)


def digest(model):
    return hashlib.sha256(b"".join(weights.tobytes() for weights in model.get_weights())).hexdigest()


class Recorder:
    def __init__(self, stop_after=None):
        self.steps, self.epochs, self.stop_after = [], [], stop_after

    def on_step(self, step, steps):
        self.steps.append((step, steps))

    def on_epoch(self, epoch, values):
        self.epochs.append((epoch, values))
        if epoch == self.stop_after:
            raise fit.StopTraining


def test_it_learns_what_can_be_learned(fitted):
    assert fitted.history[0]["val_accuracy"] <= max(row["val_accuracy"] for row in fitted.history) == 1
    assert fitted.history[-1]["train_cross_entropy"] < 0.1 < fitted.history[0]["train_cross_entropy"]


def test_same_data_and_parameters_same_bits(sets, fitted):
    again = fit.fit(*sets, PARAMS)
    assert digest(again.model) == digest(fitted.model)
    assert again.history == fitted.history
    other = fit.fit(*sets, PARAMS.model_copy(update={"seed": 4}))
    assert digest(other.model) != digest(fitted.model)


def test_a_longer_training_begins_as_the_shorter(sets, fitted):
    longer = fit.fit(*sets, PARAMS.model_copy(update={"epochs": 8}))
    assert longer.history[:6] == fitted.history


def test_listeners_hear_every_step_and_epoch(sets, fitted):
    heard = Recorder()
    fit.fit(*sets, PARAMS.model_copy(update={"epochs": 2}), [heard])
    assert heard.steps == [(step, 5) for step in range(1, 6)] * 2
    assert heard.epochs == list(enumerate(fitted.history[:2], start=1))


def test_a_listener_can_stop_it(sets):
    with pytest.raises(fit.StopTraining):
        fit.fit(*sets, PARAMS, [Recorder(stop_after=1)])


def test_rate_follows_the_staircase(fitted):
    # 5 steps an epoch, halved after every 9: after 5, 10, 15, 20, 25, 30 steps
    assert [row["learning_rate"] for row in fitted.history] == pytest.approx([0.1, 0.05, 0.05, 0.025, 0.025, 0.0125])


def test_weights_kept_are_those_of_the_best_epoch(sets, fitted):
    best = fitted.history[fitted.best_epoch - 1]
    assert best["val_accuracy"] == max(row["val_accuracy"] for row in fitted.history)
    probabilities = fitted.model.predict(Batches(sets[1], 8), verbose=0)
    assert (probabilities.argmax(axis=1) == sets[1].labels).mean() == pytest.approx(best["val_accuracy"])
    earlier = fit.fit(*sets, PARAMS.model_copy(update={"epochs": fitted.best_epoch}))
    assert digest(earlier.model) == digest(fitted.model)


def test_regularization_is_in_the_loss_and_not_in_the_cross_entropy(fitted):
    assert all(row["train_loss"] > row["train_cross_entropy"] for row in fitted.history)


def test_a_loss_that_explodes_is_said_so(sets):
    wild = PARAMS.model_copy(update={"optimizer": PARAMS.optimizer.model_copy(update={"learning_rate": 10.0})})
    wild = wild.model_copy(update={"model": PARAMS.model.model_copy(update={"l2": 1e3})})
    with pytest.raises(UserError, match=r"loss must stay finite.*lower train\.optimizer\.learning_rate"):
        fit.fit(*sets, wild.model_copy(update={"epochs": 30}))


def test_a_minibatch_larger_than_the_set_is_refused(sets):
    with pytest.raises(UserError, match=r"train\.batch_size: .* 45 training shots, got 46"):
        fit.fit(*sets, PARAMS.model_copy(update={"batch_size": 46}))


def test_order_is_a_function_of_seed_and_epoch(sets):
    assert sorted(shuffled(45, 3, 0)) == list(range(45))
    assert shuffled(45, 3, 1).tolist() == shuffled(45, 3, 1).tolist() != shuffled(45, 3, 0).tolist()
    batches = Batches(sets[0], 8, seed=3)
    assert len(batches) == 5
    batches.epoch = 2
    images, labels = batches[4]
    rows = shuffled(45, 3, 2)[32:40]
    assert labels.tolist() == sets[0].labels[rows].tolist()
    assert images.shape == (8, 8, 10, 1)
    assert images[..., 0].tolist() == sets[0].images(rows).tolist()


def test_without_a_seed_all_shots_come_in_order(sets):
    batches = Batches(sets[0], 8)
    labels = np.concatenate([batches[i][1] for i in range(len(batches))])
    assert labels.tolist() == sets[0].labels.tolist()


def test_a_saved_model_is_the_same_bytes_and_the_same_function(tmp_path, sets, fitted):
    again = fit.fit(*sets, PARAMS)  # another object of the same weights
    for name, model in (("a.keras", fitted.model), ("b.keras", again.model)):
        models.save(model, tmp_path / name)
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()
    loaded = models.load(tmp_path / "a.keras")
    batch = Batches(sets[1], 8)
    assert loaded.predict(batch, verbose=0).tobytes() == fitted.model.predict(batch, verbose=0).tobytes()
