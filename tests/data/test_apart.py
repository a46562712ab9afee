"""What reads a file in a fork may hang, crash, raise or take all memory: the caller goes on with a line."""

import ctypes
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from xtcav_ml.data import apart
from xtcav_ml.data.apart import Apart
from xtcav_ml.system import interrupts
from xtcav_ml.system.errors import UserError

pytestmark = pytest.mark.forks


def read(path: Path, more: int = 0) -> tuple[str, int, int]:
    """Do what the file's name says; a regular expression keeps Python's lock without end, as HDF5 does."""
    if path.name == "hang":
        re.match(r"(a+)+$", "a" * 40 + "b")
    if path.name == "crash":
        ctypes.string_at(0)
    if path.name == "memory":
        np.ones(2**33)
    if path.name == "raise":
        raise UserError("mine")
    if path.name == "wait":
        time.sleep(0.3)
    return path.name, more, os.getpid()


@pytest.fixture
def look(monkeypatch):
    monkeypatch.setattr(apart, "SECONDS", 0.1)
    with Apart(read) as look:
        yield look


def test_one_fork_answers_until_a_file_ends_it(look):
    name, more, fork = look(Path("good"), 7)
    assert (name, more) == ("good", 7)
    assert fork != os.getpid()
    for number in interrupts.STOPS:  # a terminal or a batch system sends them to all processes
        os.kill(fork, number)
    assert look(Path("after"))[2] == fork
    with pytest.raises(UserError):
        look(Path("crash"))
    assert look(Path("after"))[2] not in (fork, os.getpid())


@pytest.mark.parametrize(
    ("name", "said"), [("hang", "found no end of "), ("crash", "found a crash of HDF5 by SIGSEGV")]
)
def test_a_file_that_ends_the_fork_is_one_line(look, name, said):
    for _ in range(2):
        with pytest.raises(UserError, match=rf"^{name}: not a readable HDF5 file \({said}.*Fix: copy the file again"):
            look(Path(name))


def test_what_is_raised_there_is_raised_here(look):
    with pytest.raises(UserError, match=r"^mine$"):
        look(Path("raise"))
    with pytest.raises(MemoryError):
        look(Path("memory"))
    assert look(Path("good"))


def test_only_time_of_the_processor_counts(look):
    assert look(Path("wait"))[0] == "wait"


def test_a_line_becomes_an_answer_and_new_items_come_back():
    kept = {0: "before"}

    def keep(path):
        kept[len(kept)] = path.name
        return read(path)[0]

    with Apart(keep, lambda line: line[:5], kept) as look:
        assert [look(Path(name)) for name in ("good", "crash", "after")] == ["good", "crash", "after"]
    assert kept == {0: "before", 1: "good", 2: "after"}


def test_the_fork_ends_with_its_user_and_with_its_block(tmp_path):
    if not (user := os.fork()):
        with Apart(read) as look:
            (tmp_path / "fork").write_text(str(look(Path("good"))[2]))
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(user, 0)
    with Apart(read) as look:
        forks = [int((tmp_path / "fork").read_text()), look(Path("good"))[2]]
    for fork in forks:
        deadline = time.monotonic() + 120
        while Path(f"/proc/{fork}/stat").exists() and " Z " not in Path(f"/proc/{fork}/stat").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize("many", [1, 100])
def test_forks_read_ahead_and_a_file_that_ends_one_costs_no_other(monkeypatch, many):
    for name, value in (("SECONDS", 0.1), ("AHEAD", 3), ("MANY", many)):
        monkeypatch.setattr(apart, name, value)
    names = ["a", "crash", "b", "c", "hang", "d", "e", "crash"]
    with Apart(read, lambda line: (line.partition(":")[0], -1, 0)) as look:
        answers = list(look.each([Path(name) for name in names]))
    assert [answer[0] for answer in answers] == names
    assert [answer[1] for answer in answers] == [0, -1, 0, 0, -1, 0, 0, -1]


def test_of_many_files_two_forks_read_every_other_few(monkeypatch):
    monkeypatch.setattr(apart, "AHEAD", 2)
    with Apart(read) as look:
        few, many = ([fork for *_, fork in look.each([Path("good")] * count)] for count in (3, 8 * 32))
    assert len(set(few)) == 1
    first, second = many[0], many[2]
    assert first != second
    assert many == [first, first, second, second] * 64


@pytest.mark.parametrize("many", [1, 100])
def test_answers_that_nobody_reads_are_not_taken_for_others(look, monkeypatch, many):
    monkeypatch.setattr(apart, "AHEAD", 1)
    monkeypatch.setattr(apart, "MANY", many)
    for names in ("ab", "abc"):
        reading = look.each([Path(name) for name in names])
        assert next(reading)[0] == "a"
        reading.close()
    with pytest.raises(UserError, match=r"^mine$"):
        list(look.each([Path("raise"), Path("b")]))
    assert look(Path("d"))[0] == "d"
