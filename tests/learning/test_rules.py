"""What a training cannot do is refused by the one who asks first, with the key; what it can do is not."""

import pytest

from tests.learning.test_fit import PARAMS
from xtcav_ml.config.prepare import Contrast, Pixels
from xtcav_ml.config.train import Augment
from xtcav_ml.learning import rules
from xtcav_ml.learning.layer_plan import Ends
from xtcav_ml.science.images import Preprocessing
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system.errors import UserError

CONTRAST = Contrast(step="contrast", floor=1.0)


def spec(*, classes=("no", "yes"), regression=(), steps=(CONTRAST,)):
    preprocessing = Preprocessing(steps, Pixels(dtype="float32", quantum=None), (12, 10), None)
    return LearningSpec("side" if classes else None, classes, regression, (), preprocessing)


@pytest.mark.parametrize(
    ("changes", "of", "key", "value"),
    [
        ({"augment": Augment(shift=(12, 0))}, {}, r"train\.augment\.shift\.0", "12"),
        ({"augment": Augment(shift=(0, 10))}, {}, r"train\.augment\.shift\.1", "10"),
        ({"augment": Augment(gain=0.1)}, {}, r"train\.augment\.gain", "0.1"),
        ({"class_weights": True}, {"classes": (), "regression": ("t1",)}, r"train\.class_weights", "true"),
        ({"batch_size": 46}, {}, r"train\.batch_size", "46"),
        ({"batch_size": 45, "model": PARAMS.model.model_copy(update={"hidden": (65536,) * 64})}, {}, "memory", "GB"),
    ],
)
def test_what_cannot_be_trained_is_refused(monkeypatch, changes, of, key, value):
    monkeypatch.setattr(rules, "memory", lambda: 8e9)
    with pytest.raises(UserError, match=rf"{key}.*found .*{value}.*Fix: "):
        rules.require_trainable(PARAMS.model_copy(update=changes), spec(**of), 45)


@pytest.mark.parametrize(
    ("backend", "gpus", "line"),
    [
        ("tensorflow", [], r"found 3 with tensorflow, expected 1\). Fix: set it to 1, or set KERAS_BACKEND=jax"),
        ("jax", ["0", "1"], r"found 3, expected at most 2\). Fix: lower it"),
    ],
)
def test_more_processes_than_can_train_are_refused(monkeypatch, backend, gpus, line):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setattr(rules.variables, "visible_gpus", lambda: gpus)
    monkeypatch.setattr(rules.variables, "has_gpu", lambda: bool(gpus))
    with pytest.raises(UserError, match=rf"train\.processes: .*{line}"):
        rules.require_data(PARAMS.model_copy(update={"processes": 3}), spec())


@pytest.mark.parametrize(("gpus", "processes"), [([], 8), (["0", "1"], 2)])
def test_processes_that_can_train_are_not(monkeypatch, gpus, processes):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr(rules.variables, "visible_gpus", lambda: gpus)
    monkeypatch.setattr(rules.variables, "has_gpu", lambda: bool(gpus))
    rules.require_data(PARAMS.model_copy(update={"processes": processes}), spec())


@pytest.mark.parametrize(
    ("changes", "of"),
    [
        ({"augment": Augment(shift=(11, 9)), "batch_size": 45}, {}),
        ({"augment": Augment(gain=0.1)}, {"steps": ()}),
        ({"class_weights": True}, {}),
    ],
)
def test_what_can_be_trained_is_not(changes, of):
    rules.require_trainable(PARAMS.model_copy(update=changes), spec(**of), 45)


@pytest.mark.parametrize("name", ["torch", "tensorfow", "openvino"])
def test_a_backend_that_cannot_be_used_is_refused(monkeypatch, name):
    monkeypatch.setenv("KERAS_BACKEND", name)
    with pytest.raises(UserError, match=rf"KERAS_BACKEND: .*found '{name}', expected tensorflow or jax"):
        rules.require_trainable(PARAMS, spec())


def test_a_backend_that_is_not_installed_is_refused(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr(rules.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"KERAS_BACKEND: not installed .found 'jax'"):
        rules.require_backend()


def test_a_step_must_fit_the_memory():
    assert rules.memory() > 1e8
    ends = Ends.of(spec())
    with pytest.raises(UserError, match=r"train\.batch_size.*found about 0\.\d GB, expected at most 0\.0"):
        rules.require_network(PARAMS, ends, 1e7)
    rules.require_network(PARAMS, ends, 1e9)


def test_a_configuration_file_of_numba_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rules.require_environment()
    (tmp_path / ".numba_config.yaml").write_text("fastmath: 1\n")
    with pytest.raises(UserError, match=r"\.numba_config\.yaml: .*Fix: remove it"):
        rules.require_environment()
