"""What a GPU changes, on machines that have none; benchmarks/gpu.py and docs/performance.md are of real ones."""

import sys
from types import SimpleNamespace

import pytest

from tests.learning.test_fit import PARAMS, write
from xtcav_ml.learning import backend, fit
from xtcav_ml.system import variables
from xtcav_ml.system.errors import UserError


class ResourceExhaustedError(Exception):
    """Named as TensorFlow's."""


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 321.28MiB with allocator GPU_0_bfc."),
        ResourceExhaustedError("OOM when allocating tensor with shape[32,8,726,568]\non /device:GPU:0"),
        ResourceExhaustedError("OOM when allocating tensor with shape[32,8,726,568]\non /device:CPU:0"),
    ],
)
def test_a_gpu_with_too_little_memory_is_one_line(tmp_path, monkeypatch, error):
    def step(*arguments, **named):
        raise error

    monkeypatch.setattr(backend.keras.Model, "fit", step)
    data = [write(tmp_path / f"{name}.h5", 16, 1) for name in ("train", "validation")]
    with pytest.raises(UserError, match=r"train\.batch_size: .*found .*alloc.*Fix: lower it") as caught:
        fit.fit(*data, PARAMS)
    assert "\n" not in str(caught.value)
    assert "GPU" in str(error) or "GPU" not in str(caught.value)  # it is the machine's own memory


def test_other_errors_of_a_step_are_passed_on():
    with pytest.raises(ZeroDivisionError), backend.enough_memory():
        raise ZeroDivisionError


def as_jax(monkeypatch, platform, precision=None):
    """Let the backend find JAX with two devices of a platform; returns JAX's settings."""
    config = SimpleNamespace(jax_default_matmul_precision=precision)
    config.update = lambda name, value: setattr(config, name, value)
    devices = [SimpleNamespace(device_kind=f"a {platform}")] * 2
    jax = SimpleNamespace(config=config, default_backend=lambda: platform, devices=lambda: devices)
    monkeypatch.setitem(sys.modules, "jax", jax)
    monkeypatch.setattr(backend, "name", lambda: "jax")
    backend._warn_of_unused_gpu.cache_clear()
    return config


@pytest.mark.parametrize(
    ("platform", "chosen", "precision"),
    [("gpu", None, "highest"), ("gpu", "tensorfloat32", "tensorfloat32"), ("cpu", None, None)],
)
def test_float32_is_float32_on_a_gpu_unless_a_variable_chose(monkeypatch, platform, chosen, precision):
    config = as_jax(monkeypatch, platform, chosen)
    assert backend.configure(seed=1, threads=2) == f"JAX on a {platform}"  # the one that trains
    assert config.jax_default_matmul_precision == precision


@pytest.mark.parametrize(
    ("there", "platform", "asked", "lines"),
    [(True, "cpu", "", 1), (True, "cpu", "cpu", 0), (True, "gpu", "", 0), (False, "cpu", "", 0)],
)
def test_a_gpu_that_is_not_used_is_told_once(monkeypatch, capsys, there, platform, asked, lines):
    as_jax(monkeypatch, platform)
    monkeypatch.setattr(variables, "has_gpu", lambda: there)
    monkeypatch.setenv("JAX_PLATFORMS", asked)
    for _ in range(2):
        backend.configure(seed=1, threads=2)
    told = capsys.readouterr().err
    assert told.count("the GPU of this machine is not used") == len(told.splitlines()) == lines
    assert lines == 0 or "requirements-jax.txt" in told
