import subprocess
import sys

import pytest

SWALLOWED = """
import contextlib, os, signal, sys
from xtcav_ml import interrupts

interrupts.listen()
interrupts.require_none()
with contextlib.suppress(BaseException):
    os.kill(os.getpid(), signal.{name})
    for _ in range(10**9):
        pass
print("swallowed", flush=True)
try:
    interrupts.require_none()
except KeyboardInterrupt:
    print("raised again")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_request_to_stop_that_a_library_swallows_is_raised_again(name):
    done = subprocess.run(
        [sys.executable, "-c", SWALLOWED.format(name=name)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split("\n")[:2] == ["swallowed", "raised again"]
