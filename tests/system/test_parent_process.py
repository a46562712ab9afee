"""A stage ends with its `dvc`, whatever it is doing and whatever is between them."""

import os
import subprocess
import sys

import pytest

STAGE = """
import ctypes, os, sys, time
from xtcav_ml.system import parent_process
if "orphan" in sys.argv:
    dvc = os.getppid()
    os.kill(dvc, 9)
    while os.getppid() == dvc:
        pass
if "old kernel" in sys.argv:
    del os.pidfd_open
parent_process.LOOK_SECONDS = 0.05
parent_process.end_with_dvc()
print("works", flush=True)
ctypes.PyDLL(None).sleep(60) if "in a library" in sys.argv else time.sleep(60)
"""
DVC = "import subprocess, sys; subprocess.run(sys.argv[1:])"


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a `dvc` that runs a command as a stage."""
    (tmp_path / "dvc").write_text(DVC)
    (tmp_path / "stage.py").write_text(STAGE)
    environment = {**os.environ, "DVC_STAGE": "train"}

    def begin(*command):
        return subprocess.Popen(
            [sys.executable, "dvc", *command],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    return begin


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "stage.py"],
        [sys.executable, "stage.py", "in a library"],  # one that keeps Python's lock, as while TensorFlow is loaded
        ["sh", "-c", f"{sys.executable} stage.py; true"],
        ["sh", "-c", f"{sys.executable} stage.py 'old kernel'; true"],
    ],
)
def test_a_stage_ends_when_its_dvc_is_killed(start, command):
    with start(*command) as dvc:
        assert dvc.stdout.readline() == b"works\n"
        dvc.kill()
        dvc.communicate(timeout=20)  # its output ends with the last process that has it


def test_a_stage_whose_dvc_has_ended_does_not_begin(start):
    with start(sys.executable, "stage.py", "orphan") as dvc:
        output, _ = dvc.communicate(timeout=20)
    assert b"works" not in output
