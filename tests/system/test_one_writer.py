"""Two processes never write an output at the same time, whatever ends them."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from xtcav_ml.system import one_writer
from xtcav_ml.system.one_writer import locked, writing

PROLOGUE = """
import sys, time
from pathlib import Path
from xtcav_ml.system.one_writer import writing
output = Path(sys.argv[1])
"""
HOLD = """
with writing(output):
    print("held", flush=True)
    time.sleep(600)
"""
COUNT = """
for _ in range(20):
    with writing(output):
        value = int(output.read_text())
        time.sleep(0.0005)
        output.write_text(str(value + 1))
"""


def started(program, output):
    """Start another process, no fork of this one: that may have TensorFlow's threads, and handlers of signals."""
    return subprocess.Popen([sys.executable, "-c", PROLOGUE + program, output], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def holder(tmp_path):
    """Another process that writes an output for ten minutes, unless it is ended."""
    with started(HOLD, tmp_path / "model") as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@contextlib.contextmanager
def ending(process, how):
    """End a process soon, and see that it has ended when the block has."""
    timer = threading.Timer(0.1, process.send_signal, [how])
    timer.start()
    yield
    timer.join()
    assert process.wait(60) == -how


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_next_writer_says_for_whom_it_waits_and_goes_on_when_that_is_ended(tmp_path, holder, how, capsys):
    with ending(holder, how), writing(tmp_path / "model"):
        pass
    said = capsys.readouterr().err
    assert said.startswith(f"{tmp_path / 'model'}: waits for process {holder.pid} of ")
    assert len(said.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_another_output_is_free_and_nothing_is_left_behind(tmp_path, holder, capsys):
    with writing(tmp_path / "new folder/report.html"), writing(None):
        assert [path.name for path in (tmp_path / "new folder").iterdir()] == [".report.html.lock"]
    assert not list((tmp_path / "new folder").iterdir())
    assert not any(capsys.readouterr())


def test_no_writer_is_lost_among_many(tmp_path):
    output = tmp_path / "count"
    output.write_text("0")
    writers = [started(COUNT, output) for _ in range(8)]
    assert [writer.communicate()[0] for writer in writers] == [""] * 8
    assert output.read_text() == "160"
    assert [path.name for path in tmp_path.iterdir()] == ["count"]


def test_a_child_process_does_not_keep_the_lock(tmp_path):
    with writing(tmp_path / "model"):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False)
    try:
        with Path(tmp_path / ".model.lock").open("wb") as file:
            assert one_writer.locked(file, wait=False)
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_one_line(tmp_path, monkeypatch, capsys, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(one_writer.fcntl, "flock", refuse)
    with writing(tmp_path / "model"):
        (tmp_path / "model").write_text("written")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"xtcav: {tmp_path}/.model.lock: not locked (found ")
    with (tmp_path / "model").open("rb") as file:
        assert [locked(file, without=without) for without in (True, False)] == [True, False]


def test_where_nothing_can_be_written_the_writer_itself_says_so(tmp_path):
    (tmp_path / "file").write_text("mine")
    with writing(tmp_path / "file/report.html"):
        assert (tmp_path / "file").read_text() == "mine"


def test_the_lock_of_another_user_is_waited_for_too(tmp_path, holder, monkeypatch, capsys):
    real = Path.open

    def only_to_read(self, mode="r", *rest, **more):
        if mode == "a+b":  # as for a file of another user; root could
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return real(self, mode, *rest, **more)

    monkeypatch.setattr(Path, "open", only_to_read)
    with ending(holder, signal.SIGKILL), writing(tmp_path / "model"):
        pass
    assert f"waits for process {holder.pid} of " in capsys.readouterr().err


def test_the_lock_names_its_present_holder_alone(tmp_path):
    lock = tmp_path / ".model.lock"
    lock.write_text("process 1 that was killed")
    with writing(tmp_path / "model"):
        assert lock.read_text().startswith(f"process {os.getpid()} of ")


def test_a_lock_that_cannot_be_removed_is_left(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with writing(tmp_path / "model"):
            pass
    with writing(tmp_path / "model"):  # it was released
        pass
