import subprocess
import sys

import pytest

from xtcav_ml.system import interrupts

START = """
import contextlib, os, signal, time
from xtcav_ml.system import interrupts

def ask():
    os.kill(os.getpid(), signal.{name})

interrupts.listen()
interrupts.require_none()
"""

SWALLOWED = """
with contextlib.suppress(BaseException):
    ask()
    for _ in range(10**9):
        pass
print("swallowed")
try:
    interrupts.require_none()
except KeyboardInterrupt:
    print("raised again")
"""

HELD_BACK = """
try:
    with interrupts.held():
        with interrupts.held():
            ask()
            ask()  # as `timeout` does
            print("held back")
        print("still held back")
    print("never here")
except KeyboardInterrupt:
    print("raised at the end")
with interrupts.held():  # what ends a run in order is not asked to stop once more
    pass
print("once")
"""

BETWEEN_STEPS = """
with interrupts.held():
    ask()
    try:
        interrupts.require_none()
    except KeyboardInterrupt:
        print("raised between two steps")
print("once")
"""

ANOTHER_ERROR = """
try:
    with interrupts.held():
        ask()
        raise ValueError
except ValueError:
    print("the error stays")
"""

AGAIN = """
try:
    with interrupts.held():
        ask()
        time.sleep(interrupts.REPEAT_SECONDS + 0.1)
        ask()
        print("never here")
except KeyboardInterrupt:
    print("obeyed at once")
"""

CALLED_BY_C = """
@interrupts.without_caller
def written(_):
    with contextlib.suppress(KeyboardInterrupt):
        ask()
        sum(range(1000))
    return 0

try:
    print(sorted([1], key=written))
    for _ in range(10**9):
        pass
except KeyboardInterrupt:
    print("raised afterwards")
time.sleep(0.1)
print("once")
"""

DESTRUCTOR = """
class Frame:
    def __del__(self):
        ask()
        sum(range(1000))

frame = Frame()
del frame
try:
    interrupts.require_none()
except KeyboardInterrupt:
    print("raised afterwards")
"""

SAID = {
    SWALLOWED: ["swallowed", "raised again"],
    HELD_BACK: ["held back", "still held back", "raised at the end", "once"],
    BETWEEN_STEPS: ["raised between two steps", "once"],
    ANOTHER_ERROR: ["the error stays"],
    AGAIN: ["obeyed at once"],
    CALLED_BY_C: ["[1]", "raised afterwards", "once"],
    DESTRUCTOR: ["raised afterwards"],
}


@pytest.mark.parametrize(
    ("what", "name"),
    [*((what, "SIGTERM") for what in SAID), (HELD_BACK, "SIGINT"), (HELD_BACK, "SIGHUP")],
    ids=[
        "swallowed",
        "held_back",
        "between_steps",
        "another_error",
        "again",
        "called_by_c",
        "destructor",
        "Ctrl-C",
        "terminal",
    ],
)
def test_a_request_to_stop_is_heard_where_it_may_be(what, name):
    program = START.format(name=name) + what
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == SAID[what]
    assert done.stderr == (interrupts.HELD_BACK.decode() if "held()" in what else "")


@pytest.mark.parametrize("then", ["", "interrupts.end_at_once('ui')\n"], ids=["listens", "ends_at_once"])
def test_a_command_below_nohup_outlives_its_terminal(then):
    program = START.format(name="SIGHUP") + then + "ask()\nprint('on')"
    command = ["nohup", sys.executable, "-c", program]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == "on\n"


BECOMES = """
import os, signal, sys
from xtcav_ml.system import interrupts
interrupts.block()
os.kill(os.getpid(), signal.SIGINT)  # before the program that this process becomes has a handler
program = "from xtcav_ml.system import interrupts; interrupts.end_at_once('ui'); print('goes on')"
os.execv(sys.executable, [sys.executable, "-c", program])
"""


def test_a_stop_while_a_program_of_another_starts_is_one_line():
    done = subprocess.run([sys.executable, "-c", BECOMES], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "xtcav: ui: stopped\n")


def test_a_signal_after_the_work_is_done_does_not_disturb_the_end():
    program = (
        "import atexit, os, signal\n"
        "from xtcav_ml.system import interrupts\n"
        "interrupts.listen()\n"
        "atexit.register(lambda: (os.kill(os.getpid(), signal.SIGINT), print('tidied')))\n"
        "interrupts.leave()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "tidied\n", "")
