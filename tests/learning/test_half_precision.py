"""Half precision needs more of oneDNN than AVX2, and oneDNN takes one limit for a whole process: a process of its own."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

ALONE = ROOT / "tests/learning/alone_half_precision.py"


@pytest.mark.thorough
def test_half_precision_in_a_process_of_its_own():
    environment = {name: value for name, value in os.environ.items() if name != "ONEDNN_MAX_CPU_ISA"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(ALONE)]
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert "3 passed" in found.stdout, found.stdout


def test_the_limit_is_lifted_for_half_precision_unless_the_user_set_it(keras_ready, monkeypatch):
    from xtcav_ml.learning import backend

    for given, kept in (("AVX2", None), ("SSE41", "SSE41")):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", given)
        with backend.precision("float32"):
            assert os.environ["ONEDNN_MAX_CPU_ISA"] == given
        with backend.precision("mixed_bfloat16"):
            assert os.environ.get("ONEDNN_MAX_CPU_ISA") == kept
