"""Two processes train as one does: JAX in processes of its own, since this one has TensorFlow."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.learning.conftest import PARAMS
from xtcav_ml.learning import ranks
from xtcav_ml.system.errors import UserError

DIGITS = 1e-6
"""Relative difference of losses that are equal to seven digits."""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    quick = {
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.learning.train_together", folder],
        cwd=ROOT,
        env={**os.environ, **quick, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_same(one, other):
    for row, same in zip(one, other, strict=True):
        assert row.keys() == same.keys()
        for name in row:
            tolerance = (
                DIGITS if name.endswith("_loss") else 20 * DIGITS
            )  # sums of terms that cancel, and small parts of it
            np.testing.assert_allclose(row[name], same[name], rtol=tolerance, atol=1e-7, err_msg=name)


@pytest.mark.thorough
def test_losses_are_those_of_one_process_to_seven_digits(found):
    assert_same(found["one"]["history"], found["two"]["history"])


@pytest.mark.thorough
def test_validation_shots_that_cannot_be_shared_evenly_count_once(found):
    assert_same(found["one, odd"]["history"], found["killed then resumed"]["history"][:1])


@pytest.mark.thorough
def test_listeners_are_called_as_by_one_process(found):
    assert found["two"]["steps"] == found["one"]["steps"] == [1, 2, 3, 4, 5] * 3
    assert found["two"]["epochs"] == found["one"]["epochs"] == [1, 2, 3]


@pytest.mark.thorough
def test_one_that_is_killed_ends_all_in_one_line_that_names_it(found):
    assert found["killed"]["error"].startswith("train: process 2 of 2: its process died (found exit code -9, killed")
    assert "Fix: free memory, then train again: it resumes after the last epoch" in found["killed"]["error"]
    assert found["killed"]["epochs"] == [1]
    assert [each["alive"] for each in found.values()] == [0] * len(found)


@pytest.mark.thorough
def test_a_killed_training_resumes_to_the_same_bits(found):
    resumed, whole = found["killed then resumed"], found["two"]
    assert resumed["resumed"] == 1
    assert resumed["steps"] == [1, 2, 3, 4, 5] * 2
    assert resumed["history"][1:] == whole["history"][1:]  # the first epoch was measured on other shots
    assert resumed["digest"] == whole["digest"]


def test_a_trial_which_may_start_no_process_says_so(monkeypatch):
    monkeypatch.setattr(ranks.multiprocessing.current_process(), "_config", {"daemon": True})
    with pytest.raises(
        UserError, match=r"train\.processes: trials of a search.*found 2, expected 1\). Fix: set it to 1"
    ):
        ranks.fit_together(None, "train.h5", "validation.h5", PARAMS.model_copy(update={"processes": 2}), [], None)


def test_each_process_has_a_gpu_of_its_own_and_no_way_out(monkeypatch):
    given = {}
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 4, 5, 9})
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, processors: given.update(processors=processors))
    monkeypatch.setattr(ranks.variables, "visible_gpus", lambda: ["2", "GPU-5"])
    for name in ("https_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://proxy:80")
    for name in ("CUDA_VISIBLE_DEVICES", "JAX_LOCAL_DEVICE_IDS", "JAX_COORDINATOR_BIND_ADDRESS"):
        monkeypatch.setenv(name, "")
    ranks._confine(1, 2, 5555)
    assert given["processors"] == [4, 9]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-5"
    assert os.environ["JAX_COORDINATOR_BIND_ADDRESS"] == "127.0.0.1:5555"
    assert not [name for name in os.environ if name.lower().endswith("_proxy")]


def test_the_port_is_nobody_else_s_until_the_end():
    with ranks._port() as port, ranks._port() as other:
        assert port != other
        assert 0 < port < 65536
