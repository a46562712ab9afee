import contextlib
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from server import services
from tests.conftest import ROOT
from xtcav_ml.system.errors import UserError

ENDS_IN_ORDER = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print(1, flush=True)
time.sleep(60)
"""
HAS_A_CHILD = (
    "import subprocess, time; child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True); time.sleep(60)"
)


def first_line(path, process):
    while not path.read_text().endswith("\n"):
        assert process.poll() is None
    return path.read_text().strip()


def started(tmp_path, program):
    output = (tmp_path / "output").open("wb")
    return services.running([sys.executable, "-c", program], signal.SIGTERM, os.environ, output)


def test_a_service_is_told_to_end_and_waited_for(tmp_path):
    with started(tmp_path, ENDS_IN_ORDER) as process:
        first_line(tmp_path / "output", process)
        assert os.getpgid(process.pid) != os.getpgrp()  # Ctrl-C in the terminal is not for it
    assert process.returncode == 7


@pytest.mark.parametrize("ends_first", [False, True])
def test_children_of_a_service_are_ended_too(tmp_path, ends_first):
    with started(tmp_path, HAS_A_CHILD) as process:
        child = psutil.Process(int(first_line(tmp_path / "output", process)))
        if ends_first:
            process.kill()
            process.wait()
    assert not psutil.wait_procs([child], timeout=120)[1]


def test_a_service_that_does_not_listen_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(services, "GRACE", 0.1)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    with started(tmp_path, deaf) as process:
        first_line(tmp_path / "output", process)
    assert process.returncode == -signal.SIGKILL


def test_a_service_ends_when_who_started_it_is_killed():
    starter = f"""
import os, signal, sys
from server import services
with services.running([sys.executable, "-c", {ENDS_IN_ORDER!r}], signal.SIGTERM, os.environ) as process:
    print(process.pid, flush=True)
    process.wait()
"""
    with subprocess.Popen([sys.executable, "-c", starter], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        service = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        assert not psutil.wait_procs([service], timeout=120)[1]


def test_a_program_that_is_killed_is_started_again(tmp_path, capsys):
    with services.Kept("it", lambda: started(tmp_path, ENDS_IN_ORDER)) as kept:
        first = kept.process
        kept.revive()
        assert kept.process is first
        first.kill()
        first.wait()
        kept.revive()
        second = kept.process
        first_line(tmp_path / "output", second)
    assert capsys.readouterr().out == "it ended (exit code -9) and is started again\n"
    assert second.returncode == 7


def kept_of_ended(monkeypatch, seconds):
    """Return what keeps a program that has always ended, the list of its starts, and a clock that goes on by `seconds`."""
    starts = []
    clock = iter(range(0, 10**9, seconds))
    monkeypatch.setattr(services.time, "monotonic", lambda: next(clock))

    def start():
        starts.append(1)
        return contextlib.nullcontext(SimpleNamespace(poll=lambda: 3, returncode=3))

    return services.Kept("it", start), starts


def test_a_program_that_ends_again_and_again_is_given_up(monkeypatch):
    kept, starts = kept_of_ended(monkeypatch, seconds=1)
    with kept, pytest.raises(UserError, match=r"^it: does not stay up \(found exit code 3, 30 times in a row"):
        for _ in range(100):
            kept.revive()
    assert len(starts) == 1 + services.STARTS


def test_a_program_that_ends_now_and_then_is_never_given_up(monkeypatch):
    kept, starts = kept_of_ended(monkeypatch, seconds=int(services.STEADY) + 1)
    with kept:
        for _ in range(100):
            kept.revive()
    assert len(starts) == 101
