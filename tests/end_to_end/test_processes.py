"""A project that trains in two processes on JAX: stopped as by a terminal, and then finished by `dvc repro`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Project, clean_environment

EPOCHS = 60
JAX = {
    "KERAS_BACKEND": "jax",
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    return Project.with_small_frames(folder, **{"train.processes": 2, "train.epochs": EPOCHS})


def require_gone(group, deadline):
    """Wait until no process of the group is left: Python's tracker of resources ends a moment after its parent."""
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.05)


def jax(project):
    return {**JAX, "JAX_COMPILATION_CACHE_DIR": str(project.folder.parent / "compiled")}


@pytest.fixture(scope="module")
def stopped(project):
    """What a training prints and leaves that Ctrl-C stops after two epochs: a terminal sends it to all processes."""
    history = project.folder / "results/history.jsonl"
    training = subprocess.Popen(
        [Path(sys.executable).parent / "xtcav", "train"],
        cwd=project.folder,
        env={**clean_environment(), **jax(project)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 500
        while time.monotonic() < deadline and not (history.is_file() and history.read_text().count("\n") > 1):
            time.sleep(0.02)
            assert training.poll() is None, training.communicate()
        os.killpg(training.pid, signal.SIGINT)
        said, errors = training.communicate(timeout=120)
        require_gone(training.pid, time.monotonic() + 120)
    finally:
        training.kill()
    return training.returncode, said, errors, history.read_text().count("\n")


@pytest.fixture(scope="module")
def finished(project, stopped):
    return Project(project.folder, real=True).run("dvc", "repro", **jax(project)).stdout


def test_on_tensorflow_it_is_refused_by_validate(project):
    done = project.run("xtcav", "validate", check=False)
    assert done.returncode == 1
    assert "train.processes: only JAX trains in several processes (found 2 with tensorflow" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_ctrl_c_ends_all_processes_with_one_line(stopped):
    code, said, errors, epochs = stopped
    assert code == 130
    assert 2 <= epochs < EPOCHS
    assert "JAX on cpu, 2 processes" in said
    assert "Traceback" not in errors
    assert [line for line in errors.splitlines() if not line.startswith("xtcav: stopping")] == [errors.splitlines()[-1]]


def test_dvc_repro_resumes_evaluates_and_logs_one_run(project, stopped, finished):
    assert "resumes after epoch" in finished
    assert (project.folder / "results/history.jsonl").read_text().count("\n") == EPOCHS
    assert project.json("results/evaluation.json")["accuracy"] > 0.5
    killed, run = project.runs("tags.stage = 'train'")
    assert (killed.info.status, run.info.status) == ("KILLED", "FINISHED")
    assert run.data.params["train.processes"] == "2"
    losses = project.client().get_metric_history(run.info.run_id, "val_loss")
    assert sorted(point.step for point in losses) == list(range(1, EPOCHS + 1))
