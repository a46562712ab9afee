"""What a child process sends, returns or raises arrives here; its end, however it comes, is never a hang."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from xtcav_ml.system import interrupts
from xtcav_ml.system.child_process import ChildProcess
from xtcav_ml.system.errors import UserError


def count(send, most):
    for number in range(1, most + 1):
        if not send(number):
            return "stopped"
    return "done"


def fail(send, error):
    send("begun")
    raise error


def leave(send, code):
    os._exit(code)


def hang(send):
    send("begun")
    time.sleep(600)


HOW = {}


@pytest.fixture(params=[(), ("colorsys",)], ids=["own process", "fork"], autouse=True)
def start(request, own_forks, monkeypatch):
    """Let children start in either way."""
    monkeypatch.setitem(HOW, "imported", request.param)
    return request.param


def child(target, *arguments):
    return ChildProcess(target, *arguments, subject="trial 3", cure="lower it", **HOW)


def has_imported(send, name):
    return name in sys.modules


def test_a_fork_has_imported_what_it_shall(start):
    process = child(has_imported, "colorsys")
    assert list(process) == []
    assert process.result == ("colorsys" in start)


def test_messages_arrive_in_order_and_then_the_result():
    process = child(count, 3)
    assert list(process) == [1, 2, 3]
    assert process.result == "done"


def test_a_stopped_process_ends():
    process = child(count, 10_000)
    for number in process:
        process.stop = number == 2
    assert (number, process.result) == (2, None)
    assert process._process.exitcode == 0


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("train.h5: missing"), r"^train\.h5: missing$"),
        (ValueError("odd\nline"), r"^trial 3: .*ValueError: odd line.*Fix: lower it$"),
    ],
)
def test_an_error_in_it_is_raised_here(error, line):
    process = child(fail, error)
    with pytest.raises(UserError, match=line):
        list(process)


def test_a_killed_process_says_so():
    process = child(count, 10_000)
    with pytest.raises(UserError, match=r"trial 3: .*exit code -9.*memory.*Fix: lower it"):
        for _ in process:
            os.kill(process._process.pid, signal.SIGKILL)


def test_a_process_that_ends_itself_says_with_which_code():
    with pytest.raises(UserError, match=r"found exit code 7, expected 0") as raised:
        list(child(leave, 7))
    assert "memory" not in str(raised.value)


def test_one_that_does_not_stop_is_ended(monkeypatch):
    monkeypatch.setattr("xtcav_ml.system.child_process.SECONDS_TO_END", 0.1)
    process = child(hang)
    for _ in process:
        process.stop = True
    assert process._process.exitcode == -signal.SIGTERM


def lose(send):
    """Fail as one does whose partner is gone: a little later."""
    time.sleep(0.5)
    raise ValueError("connection closed by peer")


def nothing(send):
    return None


def refuse(send):
    raise UserError("train: the loss is not finite")


@pytest.fixture
def ended():
    """Processes that the test starts, killed at its end."""
    processes = []
    yield processes
    for process in processes:
        process.kill()
    assert not [process for process in processes if process._process.is_alive()]


def test_messages_arrive_while_others_work_or_have_ended(ended):
    ended.extend([child(count, 3), child(nothing), child(hang_silently)])
    assert list(ended[0].beside(ended[1:])) == [1, 2, 3]
    assert ended[0].result == "done"


def hang_silently(send):
    time.sleep(600)


@pytest.mark.parametrize(
    ("targets", "line"),
    [
        ((hang_silently, refuse), r"^train: the loss is not finite$"),
        ((hang_silently, lose), r"ValueError: connection closed by peer"),
    ],
)
def test_an_error_in_any_of_several_is_raised_here(ended, targets, line):
    ended.extend(child(target) for target in targets)
    with pytest.raises(UserError, match=line):
        list(ended[0].beside(ended[1:]))


@pytest.mark.parametrize("killed", [0, 1])
def test_the_one_that_was_killed_is_blamed_and_not_the_one_that_lost_it(ended, killed):
    for number in range(2):
        target = hang_silently if number == killed else lose
        ended.append(ChildProcess(target, subject=f"process {number}", cure="free memory"))
    os.kill(ended[killed]._process.pid, signal.SIGKILL)
    ended[killed]._process.join()
    with pytest.raises(UserError, match=rf"^process {killed}: its process died \(found exit code -9"):
        list(ended[0].beside(ended[1:]))


def test_the_one_that_was_killed_is_blamed_also_where_its_end_is_seen_after_the_failure_of_another(ended):
    ended.extend(ChildProcess(target, subject=target.__name__, cure="free memory") for target in (lose, hang_silently))

    def kill():
        ended[0]._process.join()
        time.sleep(0.1)
        os.kill(ended[1]._process.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(UserError, match=r"^hang_silently: its process died \(found exit code -9"):
        list(ended[0].beside(ended[1:]))
    killer.join()


def test_a_request_to_stop_before_its_start_is_the_parent_s():
    code = """if True:
        import multiprocessing, time
        from xtcav_ml.system import child_process, interrupts

        def work():
            child_process.end_with_parent()
            interrupts.require_none()

        interrupts._first = time.monotonic()
        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        child.join()
        raise SystemExit(child.exitcode)
    """
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).returncode == 0


def without_end(send):
    number = 0
    while send(number):
        number += 1


def test_a_request_to_stop_is_seen_between_messages_that_come_without_a_wait(monkeypatch):
    child = ChildProcess(without_end, subject="a child", cure="none")
    with pytest.raises(KeyboardInterrupt):
        for number in child:
            if number == 3:
                monkeypatch.setattr(interrupts, "_first", 1.0)
            assert number < 4
