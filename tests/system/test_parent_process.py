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
DVC = """
import json, os, pathlib, subprocess, sys
lists = {"its own": os.getpid(), "another's": 4_000_000}
if os.environ["DVC_LIST"]:
    busy = pathlib.Path(".dvc/tmp/rwlock")
    busy.parent.mkdir(parents=True, exist_ok=True)
    writer = {"pid": lists[os.environ["DVC_LIST"]], "cmd": "dvc repro"}
    busy.write_text(json.dumps({"write": {"/model.keras": writer}, "read": {}}))
subprocess.run(sys.argv[1:])
"""
ADOPTS = """
import contextlib, ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
subprocess.run(sys.argv[4:])
with contextlib.suppress(ChildProcessError):
    os.wait()
"""


@pytest.fixture(params=["", "its own", "another's"])
def start(tmp_path, request):
    """Return a function that starts a `dvc` that runs a command as a stage, below a command."""
    for name, program in (("dvc", DVC), ("stage.py", STAGE), ("adopts.py", ADOPTS)):
        (tmp_path / name).write_text(program)
    environment = {**os.environ, "DVC_STAGE": "train", "DVC_LIST": request.param}

    def begin(*command, below=()):
        return subprocess.Popen(
            [*below, sys.executable, "dvc", *command],
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
        dvc.communicate(timeout=120)  # its output ends with the last process that has it


@pytest.mark.parametrize(
    "start", ["its own", "another's"], indirect=True
)  # without it nothing tells who adopted the stage
@pytest.mark.parametrize("below", [(), (sys.executable, "adopts.py", "and", "is", "no")], ids=["", "adopted"])
def test_a_stage_whose_dvc_has_ended_does_not_begin(start, below):
    with start(sys.executable, "stage.py", "orphan", below=below) as above:
        output, _ = above.communicate(timeout=120)
    assert b"works" not in output
