"""One small data set, really trained on: equality to the last bit is the property that everything later rests on."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest

from tests.conftest import write_prepared_file
from tests.learning.conftest import PARAMS, write
from xtcav_ml.config.train import Augment, Optimizer
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import backend, fit, fused_conv, keras_file, layer_plan, networks, normalization
from xtcav_ml.learning.augment import Augmentation
from xtcav_ml.learning.batches import Batches, shuffled
from xtcav_ml.learning.layer_plan import CLASS_HEAD, FRAME_INPUT, NUMBER_HEAD, Ends
from xtcav_ml.science import epochs, metrics
from xtcav_ml.system.errors import UserError


@pytest.fixture(scope="module")
def fitted(sets):
    return fit.fit(*sets, PARAMS)


@pytest.fixture(scope="module")
def again(sets):
    """Another object that should have the same weights; `heard` is what a listener heard of its training."""
    heard = Recorder()
    return SimpleNamespace(**vars(fit.fit(*sets, PARAMS, [heard])), heard=heard)


def untrained(prepared, **changes):
    """Return a network as a training begins with it: who tests what goes in and out needs no other."""
    model = PARAMS.model.model_copy(update=changes)
    ends, statistics = Ends.of(prepared.spec), normalization.statistics_of(prepared, model.standardize)
    return networks.build(layer_plan.plan_layers(model, ends), model, statistics, seed=PARAMS.seed)


def digest(model):
    return hashlib.sha256(b"".join(weights.tobytes() for weights in model.get_weights())).hexdigest()


class Recorder:
    def __init__(self, stop_after=None):
        self.steps, self.epochs, self.stop_after = [], [], stop_after

    def on_step(self, step, steps):
        self.steps.append((step, steps))

    def on_resume(self, epochs, remarks):
        self.resumed = (epochs, list(remarks))

    def on_epoch(self, epoch, values, seconds):
        self.epochs.append((epoch, values))
        if epoch == self.stop_after:
            raise fit.StopTraining


def test_it_learns_what_can_be_learned(fitted):
    assert fitted.history[0]["val_accuracy"] <= max(row["val_accuracy"] for row in fitted.history) == 1
    assert fitted.history[-1]["train_cross_entropy"] < 0.1 < fitted.history[0]["train_cross_entropy"]


def test_same_data_and_parameters_same_bits(fitted, again):
    assert digest(again.model) == digest(fitted.model)
    assert again.history == fitted.history


@pytest.fixture
def short(sets, eager):
    """Return what a training of one epoch gives, with a seed."""
    return lambda seed=PARAMS.seed: fit.fit(*sets, PARAMS.model_copy(update={"seed": seed, "epochs": 1}))


def test_a_longer_training_begins_as_the_shorter_but_for_another_seed(sets, short, monkeypatch):
    monkeypatch.setattr(epochs, "best", lambda history: 1)
    longer, shorter, other = fit.fit(*sets, PARAMS.model_copy(update={"epochs": 2})), short(), short(seed=4)
    assert longer.history[:1] == shorter.history != other.history
    assert digest(longer.model) == digest(shorter.model) != digest(other.model)  # it kept the weights of its best epoch


@pytest.mark.thorough
def test_in_graphs_too_a_longer_training_begins_as_the_shorter_but_for_another_seed(sets, fitted):
    longer = fit.fit(*sets, PARAMS.model_copy(update={"epochs": 8}))
    assert longer.history[:6] == fitted.history
    earlier = fit.fit(*sets, PARAMS.model_copy(update={"epochs": fitted.best_epoch}))
    assert digest(earlier.model) == digest(fitted.model)
    other = fit.fit(*sets, PARAMS.model_copy(update={"seed": 4}))
    assert digest(other.model) != digest(fitted.model)


@pytest.mark.parametrize("count", [3, pytest.param(PARAMS.epochs, marks=pytest.mark.thorough)])
def test_the_fast_first_layer_trains_as_the_stock_one_and_is_not_saved(sets, fitted, short, monkeypatch, count):
    used = []

    def call(self, frames, training=False):
        used.append(self.name)
        return original(self, frames, training)

    original = fused_conv.ConvMaxPool.call
    monkeypatch.setattr(fused_conv.ConvMaxPool, "call", call)
    short()
    assert set(used) == {"conv1"}
    used.clear()
    monkeypatch.setattr(backend, "runs_fused_layers", lambda: False)
    stock = fit.fit(*sets, PARAMS.model_copy(update={"epochs": count}))
    assert not used
    for fast_row, row in zip(fitted.history[:count], stock.history, strict=True):
        assert fast_row == pytest.approx(row, rel=1e-3, abs=1e-4)
    assert [type(layer) for layer in fitted.model.layers] == [type(layer) for layer in stock.model.layers]


def test_with_a_batch_normalization_the_fast_first_layer_trains_as_the_stock_one(sets, monkeypatch):
    first = PARAMS.model.blocks[0].model_copy(update={"batch_norm": True})
    model = PARAMS.model.model_copy(update={"blocks": (first, *PARAMS.model.blocks[1:])})
    params = PARAMS.model_copy(update={"epochs": 2, "model": model})
    assert layer_plan.CONV_MAX_POOL in [layer.kind for layer in layer_plan.fused(plan_of(sets, model), "float32")]
    fast = fit.fit(*sets, params)
    monkeypatch.setattr(backend, "runs_fused_layers", lambda: False)
    stock = fit.fit(*sets, params)
    for fast_row, row in zip(fast.history, stock.history, strict=True):
        assert fast_row == pytest.approx(row, rel=1e-3, abs=1e-3)
    weights = zip(fast.model.get_weights(), stock.model.get_weights(), strict=True)
    assert all(one == pytest.approx(other, rel=1e-2, abs=1e-3) for one, other in weights)


def plan_of(sets, model):
    return layer_plan.plan_layers(model, Ends.of(sets[0].spec))


@pytest.mark.parametrize(
    ("initializer", "sd", "largest"),
    [
        ("truncated_normal", 0.3 * networks.TRUNCATED_SD, 0.6),
        ("he", (2 / 64) ** 0.5, 2 * (2 / 64) ** 0.5 / networks.TRUNCATED_SD),
        ("glorot", (2 / (64 + 32)) ** 0.5, (6 / (64 + 32)) ** 0.5),
    ],
)
def test_initial_weights_are_drawn_as_said(sets, initializer, sd, largest):
    model = PARAMS.model.model_copy(update={"hidden": (64, 32), "initializer": initializer})
    statistics = normalization.statistics_of(sets[0], "all")
    network = networks.build(layer_plan.plan_layers(model, Ends.of(sets[0].spec)), model, statistics, seed=5)
    kernel = np.asarray(network.get_layer("hidden2").kernel)
    assert kernel.std() == pytest.approx(sd, rel=0.05)
    assert 0.9 * largest < np.abs(kernel).max() <= largest


def test_training_frames_are_varied_in_every_epoch_and_nothing_else(sets, eager, monkeypatch):
    train, validation = sets
    rules = Augment(shift=(1, 0), gain=0.1)
    batches = Batches(train, 8, seed=1, augmentation=Augmentation(rules, train.spec.preprocessing))
    first, again = batches[2][0][FRAME_INPUT], batches[2][0][FRAME_INPUT]
    assert first.tobytes() == again.tobytes()
    plain = Batches(train, 8, seed=1)
    assert first.tobytes() != plain[2][0][FRAME_INPUT].tobytes()
    assert batches[2][1][CLASS_HEAD].tolist() == plain[2][1][CLASS_HEAD].tolist()
    batches.epoch = plain.epoch = 1
    assert batches[2][0][FRAME_INPUT].tobytes() != first.tobytes()
    varied = []
    apply = Augmentation.apply
    monkeypatch.setattr(
        Augmentation, "apply", lambda self, frames, *rest: (varied.append(len(frames)), apply(self, frames, *rest))[1]
    )
    fit.fit(train, validation, PARAMS.model_copy(update={"epochs": 1, "augment": rules}))
    assert set(varied) == {8}  # the last minibatch of the twenty validation shots has four


def test_a_listener_hears_every_step_and_epoch(again):
    assert again.heard.steps == [(step, 5) for step in range(1, 6)] * PARAMS.epochs
    assert again.heard.epochs == list(enumerate(again.history, start=1))


def test_a_listener_can_stop_it(sets, eager):
    heard = Recorder(stop_after=1)
    with pytest.raises(fit.StopTraining):
        fit.fit(*sets, PARAMS, [heard])
    assert len(heard.steps) == 5


def test_rate_follows_the_staircase(fitted):
    # 5 steps an epoch, halved after every 9: after 5, 10, 15, 20, 25, 30 steps
    assert [row["learning_rate"] for row in fitted.history] == pytest.approx([0.1, 0.05, 0.05, 0.025, 0.025, 0.0125])


def test_weights_kept_are_those_of_the_best_epoch(sets, fitted):
    best = fitted.history[fitted.best_epoch - 1]
    assert fitted.best_epoch == epochs.best(fitted.history)
    probabilities = fitted.model.predict(Batches(sets[1], 8), verbose=0)[CLASS_HEAD]
    assert (probabilities.argmax(axis=1) == sets[1].labels).mean() == pytest.approx(best["val_accuracy"])


def test_regularization_is_in_the_loss_and_not_in_the_cross_entropy(fitted):
    assert all(row["train_loss"] > row["train_cross_entropy"] for row in fitted.history)


def test_a_loss_that_explodes_is_said_so(sets, eager):
    wild = PARAMS.model_copy(update={"optimizer": PARAMS.optimizer.model_copy(update={"learning_rate": 10.0})})
    wild = wild.model_copy(update={"model": PARAMS.model.model_copy(update={"l2": 1e3})})
    with pytest.raises(UserError, match=r"^train: .*loss.*found (nan|inf) .*lower train\.optimizer\.learning_rate"):
        fit.fit(*sets, wild.model_copy(update={"epochs": 30}))


def test_a_minibatch_larger_than_the_set_is_refused(sets):
    with pytest.raises(UserError, match=r"train\.batch_size: .*found 46, expected at most 45"):
        fit.fit(*sets, PARAMS.model_copy(update={"batch_size": 46}))


def test_order_is_a_function_of_seed_and_epoch(sets):
    assert sorted(shuffled(45, 3, 0)) == list(range(45))
    assert shuffled(45, 3, 1).tolist() == shuffled(45, 3, 1).tolist() != shuffled(45, 3, 0).tolist()
    batches = Batches(sets[0], 8, seed=3)
    assert len(batches) == 5
    batches.epoch = 2
    inputs, targets = batches[4]
    rows = shuffled(45, 3, 2)[32:40]
    assert targets[CLASS_HEAD].tolist() == sets[0].labels[rows].tolist()
    assert inputs.keys() == {FRAME_INPUT}
    assert inputs[FRAME_INPUT].shape == (8, 8, 10, 1)
    assert inputs[FRAME_INPUT][..., 0].tolist() == sets[0].stored(rows).tolist()


def test_without_a_seed_all_shots_come_in_order(sets):
    batches = Batches(sets[0], 8)
    labels = np.concatenate([batches[i][1][CLASS_HEAD] for i in range(len(batches))])
    assert labels.tolist() == sets[0].labels.tolist()


def test_a_saved_model_is_the_same_bytes_and_the_same_function(tmp_path, sets, fitted, again):
    for name, model in (("a.keras", fitted.model), ("b.keras", again.model)):
        keras_file.save(model, sets[0].spec, tmp_path / name)
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()
    loaded, spec = keras_file.load_network(tmp_path / "a.keras")
    assert spec.to_json() == sets[0].spec.to_json()
    assert spec.preprocessing.dark.mean.tolist() == sets[0].spec.preprocessing.dark.mean.tolist()
    batch = Batches(sets[1], 8)
    assert (
        loaded.predict(batch, verbose=0)[CLASS_HEAD].tobytes()
        == fitted.model.predict(batch, verbose=0)[CLASS_HEAD].tobytes()
    )


def test_a_model_with_dropout_is_read_though_its_file_has_no_seeds(tmp_path, sets):
    blocks = tuple(block.model_copy(update={"dropout": 0.5, "batch_norm": True}) for block in PARAMS.model.blocks)
    model = untrained(sets[0], blocks=blocks, hidden_dropout=0.5)
    keras_file.save(model, sets[0].spec, tmp_path / "model.keras")
    loaded, _ = keras_file.load_network(tmp_path / "model.keras")
    assert digest(loaded) == digest(model)


def test_a_model_that_is_none_of_ours_is_refused(tmp_path, fitted):
    fitted.model.save(tmp_path / "plain.keras")
    (tmp_path / "broken.keras").write_bytes(b"PK")
    for name in ("plain.keras", "broken.keras", "missing.keras"):
        with pytest.raises(UserError, match=rf"{name}: not a model file of `xtcav train`"):
            keras_file.load_network(tmp_path / name)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory, keras_ready):
    """Sets in which a number shows as brightness, and another one is the feature beside the frame; a third is unknown."""
    folder = tmp_path_factory.mktemp("numbers")
    made = []
    for name, count in (("train", 96), ("validation", 32)):
        rng = np.random.default_rng(count)
        brightness, energy = rng.uniform(20, 60, count), rng.normal(4000, 3, count)
        shown = np.where(rng.random(count) < 0.3, np.nan, 2 * energy)  # absent in a third of the shots
        numbers = {"brightness": brightness, "shown": shown}
        made.append(write(folder / f"{name}.h5", count, 1, regression=numbers, features={"bld.L3energy": energy}))
    yield made
    for file in made:
        file.close()


LONGER = PARAMS.model_copy(
    update={"epochs": 12, "optimizer": Optimizer(learning_rate=0.03, momentum=0.9, decay_rate=0.97, decay_steps=12)}
)


def test_classes_and_numbers_are_learned_together_from_frame_and_feature(numbered):
    fitted = fit.fit(*numbered, LONGER)
    found = fitted.model.predict(Batches(numbered[1], 8), verbose=0)
    assert (found[CLASS_HEAD].argmax(axis=1) == numbered[1].labels).mean() > 0.9
    for i in range(2):
        result = metrics.regression(numbered[1].targets[:, i], found[NUMBER_HEAD][:, i])
        assert result.explained > 0.8, result
    row = fitted.history[-1]
    assert {"val_accuracy", "val_squared_error", "train_cross_entropy", "val_loss"} <= row.keys()
    assert row["train_loss"] == pytest.approx(
        row["train_cross_entropy"] + row["train_squared_error"] + regularization(fitted.model), rel=0.1
    )


def regularization(model):
    return float(sum(model.losses))


def test_an_absent_number_breaks_nothing(numbered, eager):
    assert np.isnan(numbered[1].targets).any()
    fitted = fit.fit(*numbered, LONGER.model_copy(update={"epochs": 1}))
    assert all(np.isfinite(weights).all() for weights in fitted.model.get_weights())


def test_numbers_alone_can_be_learned(tmp_path, keras_ready):
    made = []
    for name, count in (("train", 64), ("validation", 24)):
        numbers = {"brightness": np.random.default_rng(count).uniform(20, 60, count)}
        made.append(write(tmp_path / f"{name}.h5", count, 1, labels=False, regression=numbers))
    adam = Optimizer(name="adam", learning_rate=0.02, momentum=0.9, decay_rate=0.97, decay_steps=12)
    fitted = fit.fit(*made, LONGER.model_copy(update={"optimizer": adam, "epochs": 25}))
    best = fitted.history[fitted.best_epoch - 1]
    assert best["val_squared_error"] < 0.3  # the mean alone: 1; seeds 0 to 7 reach 0.02 to 0.08
    assert "val_accuracy" not in best
    assert fitted.model.predict(Batches(made[1], 8), verbose=0).keys() == {NUMBER_HEAD}


def test_each_pixel_can_be_standardized_by_itself_inside_the_model(sets, eager, tmp_path):
    params = PARAMS.model_copy(update={"epochs": 1, "model": PARAMS.model.model_copy(update={"standardize": "pixel"})})
    fitted = fit.fit(*sets, params)
    keras_file.save(fitted.model, sets[0].spec, tmp_path / "model.keras")
    loaded, _ = keras_file.load_network(tmp_path / "model.keras")
    images = sets[0].images(np.arange(45))
    white = np.asarray(loaded.get_layer("standardize")(sets[0].stored(np.arange(45))[..., np.newaxis]))[..., 0]
    spread = images.std(axis=0)
    wide = spread > normalization.LEAST_SPREAD * images.std()
    assert wide.any()
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(white.std(axis=0)[wide], 1, atol=1e-3)
    assert (white.std(axis=0)[~wide] < 1).all()


@pytest.mark.thorough
def test_class_weights_make_rare_classes_count_as_much(tmp_path, keras_ready):
    frames = np.full((40, 8, 10), 100, np.int16)
    path = write_prepared_file(tmp_path / "train.h5", frames, (np.arange(40) < 4).astype(int))
    with PreparedFile(path) as train:
        weights = normalization.class_weights(train)
        np.testing.assert_allclose(weights, [40 / 72, 40 / 8])
        _, targets, given = Batches(train, 8, seed=1, class_weights=weights)[0]
        assert given[CLASS_HEAD].tolist() == weights[targets[CLASS_HEAD]].tolist()
        params = PARAMS.model_copy(update={"class_weights": True, "epochs": 8})
        even = fit.fit(train, train, params).model.predict(Batches(train, 8), verbose=0)[CLASS_HEAD]
        plain = fit.fit(train, train, PARAMS.model_copy(update={"epochs": 8})).model
        skewed = plain.predict(Batches(train, 8), verbose=0)[CLASS_HEAD]
    assert abs(even[0, 1] - 0.5) < 0.15  # all frames are alike: both classes are as likely as they count
    assert skewed[0, 1] < 0.25
