"""Each variable is pinned, counts, or changes nothing; in real processes: tests/end_to_end/test_environment.py."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from xtcav_ml.system import variables

PROGRAM = """
import json, os, sys
from xtcav_ml.system import variables
variables.pin_process()
print(json.dumps([sys.argv[1:], dict(os.environ), sys.flags.optimize, sys.getfilesystemencoding(), os.umask(0)]))
"""


def pinned(*, umask=0o022, **environment):
    """Return what a process is after it has pinned its variables."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "an argument", "-x"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
        capture_output=True,
        text=True,
        check=True,
        umask=umask,
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"PYTHONOPTIMIZE": "2", "PYTHONWARNINGS": "error", "PYTHONINSPECT": "1"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "ascii", "KERAS_MAX_EPOCHS": "1", "GIT_DIR": "/elsewhere", "HDF5_DRIVER": "core"},
    ],
)
def test_a_process_starts_again_without_the_switches_of_its_python(environment):
    arguments, now, optimize, encoding, _ = pinned(**environment)
    assert arguments == ["an argument", "-x"]
    assert (optimize, encoding) == (0, "utf-8")
    assert not environment.keys() & now.keys() - {"LC_ALL"}
    assert variables.SET.items() <= now.items()


def test_whatever_the_umask_new_files_can_be_read_by_who_writes_them():
    assert pinned(umask=0o777)[-1] == 0o077
    assert pinned(umask=0o002)[-1] == 0o002


@pytest.mark.parametrize(
    ("name", "libraries"),
    [
        ("NPY_DISABLE_CPU_FEATURES", {"numpy"}),
        ("OPENBLAS_CORETYPE", {"numpy"}),
        ("NUMBA_CPU_NAME", {"numba"}),
        ("TF_XLA_FLAGS", {"tensorflow", "jax"}),
        ("ONEDNN_MAX_CPU_ISA", {"tensorflow"}),
        ("XLA_FLAGS", {"tensorflow", "jax"}),
        ("JAX_ENABLE_X64", {"jax"}),
        ("TF_SOMETHING_OF_THE_NEXT_VERSION", {"tensorflow", "jax"}),
        ("TF_CUDNN_WORKSPACE_LIMIT_IN_MB", {"tensorflow", "jax"}),
        ("CUBLAS_EMULATE_SINGLE_PRECISION", {"tensorflow", "jax"}),
        ("CUBLASLT_LOG_LEVEL", set()),
        ("CUDNN_PATH", set()),
        ("TF_CLI_CONFIG_FILE", set()),
        ("TF_CPP_MIN_LOG_LEVEL", set()),
        ("TF_ENABLE_ONEDNN_OPTS", set()),
        ("TF_DETERMINISTIC_OPS", set()),
        ("OPENBLAS_NUM_THREADS", set()),
        ("HDF5_USE_FILE_LOCKING", set()),
        ("OMP_NUM_THREADS", set()),
        ("PATH", set()),
    ],
)
def test_a_variable_counts_for_the_libraries_that_read_it(monkeypatch, name, libraries):
    monkeypatch.setenv(name, "1")
    for library in variables.COUNTED:
        assert (name in variables.counted([library])) == (library in libraries)
    monkeypatch.setenv(name, "")
    assert name not in variables.counted()


def test_what_is_meant_is_kept(monkeypatch):
    kept = (
        "MLFLOW_TRACKING_URI",
        "KERAS_BACKEND",
        "HDF5_USE_FILE_LOCKING",
        "HDF5_PLUGIN_PATH",
        "PYTHONPATH",
        "GIT_SSH",
    )
    for name in (*kept, "KERAS_MAX_EPOCHS", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.setenv(name, "x")
    for name, value in variables.SET.items():
        monkeypatch.setenv(name, value)  # so that it is put back
    assert set(variables.pin()) == {"KERAS_MAX_EPOCHS", "MLFLOW_EXPERIMENT_NAME"}
    assert os.environ.keys() >= {*kept}


@pytest.mark.parametrize(("own", "value", "counted"), [("", "AVX2", {}), ("AVX2", "AVX2", {}), ("ALL", "ALL", {"ALL"})])
def test_onednn_adds_as_with_avx2_unless_the_user_says_otherwise(monkeypatch, own, value, counted):
    for name, fixed in (variables.SET | {"ONEDNN_MAX_CPU_ISA": own}).items():
        monkeypatch.setenv(name, fixed)
    for _ in range(2):
        variables.pin()
        assert os.environ["ONEDNN_MAX_CPU_ISA"] == value
    assert {*variables.counted(["tensorflow"]).values()} == {*counted}


def test_a_gpu_computes_the_same_bits_each_time_and_the_users_own_flags_come_last(monkeypatch):
    for name, value in variables.SET.items():
        monkeypatch.setenv(name, value)
    for own in ("", "--xla_gpu_deterministic_ops=false"):
        monkeypatch.setenv("XLA_FLAGS", own)
        for _ in range(2):  # a stage's process pins again what `dvc repro` has pinned
            variables.pin()
            assert os.environ["XLA_FLAGS"] == f"--xla_gpu_deterministic_ops=true {own}".rstrip()
        assert variables.counted(["jax"]).get("XLA_FLAGS", "") == own


@pytest.mark.parametrize(
    ("gpus", "value", "hidden"),
    [
        *((1, value, True) for value in ("", "-1", "NoDevFiles", "1", "-1,0")),
        *((2, value, False) for value in (None, "0", "1", "1,0", "0,-1", "GPU-5e3f", "MIG-5e3f")),
        *((0, value, False) for value in (None, "", "-1", "0")),
    ],
)
def test_a_hidden_gpu_counts_and_the_choice_of_one_does_not(monkeypatch, gpus, value, hidden):
    monkeypatch.setattr(variables, "_gpus", lambda: gpus)
    environment = {} if value is None else {"CUDA_VISIBLE_DEVICES": value}
    for library in ("tensorflow", "jax"):
        assert variables.counted([library], environment) == ({"CUDA_VISIBLE_DEVICES": "-1"} if hidden else {})
    assert variables.counted(["numpy", "h5py"], environment) == {}
    assert variables.has_gpu(environment) == (gpus > 0 and not hidden)
