"""Streams of `streams.forgiving` on descriptors of their own, within this process: what is written, dropped and raised."""

import contextlib
import errno
import fcntl
import io
import os
import select
import sys
import threading

import pytest

from xtcav_ml.system import streams
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.streams import forgiving

FAR = 100  # no other file of this process gets a number from here on


@contextlib.contextmanager
def begun(stdout=None):
    """Run a command in a process that has just begun: Python's own streams are not there, but for a given `stdout`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        patch.setattr(sys, "stderr", None)
        with forgiving():
            yield


@pytest.fixture
def place(monkeypatch):
    """Let standard streams lead to given descriptors."""
    monkeypatch.setattr(streams, "DESCRIPTORS", {})
    opened = []

    def lead(name, descriptor):
        opened.append(descriptor)
        streams.DESCRIPTORS[name] = descriptor

    yield lead
    for descriptor in opened:
        os.close(descriptor)


@pytest.fixture
def pipes(place):
    """Pipes in the places of standard output and error; returns what reads all that has come so far, by name."""
    ends = {}
    for name in streams.NAMES:
        ends[name], writing = os.pipe()
        os.set_blocking(ends[name], False)
        place(name, writing)

    def come(name):
        try:
            return os.read(ends[name], 65536)
        except BlockingIOError:
            return b""

    yield come
    for end in ends.values():
        os.close(end)


def full():
    return os.open("/dev/full", os.O_WRONLY)


def broken():
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def test_errors_come_at_once_and_output_at_the_end(pipes):
    with begun():
        output = sys.stdout  # at whose end Python would write the rest
        print("output")
        print("error", file=sys.stderr, end="\n")
        assert pipes("stderr") == b"error\n"
        assert pipes("stdout") == b""
    assert pipes("stdout") == b"output\n"
    assert not output.closed


def read_all(terminal, expected):
    """Return whether a terminal says what is expected, and no more; it may give what was written in parts."""
    said = b""
    while len(said) < len(expected):
        said += os.read(terminal, 100)
    return said == expected


def test_a_terminal_gets_every_line(place, pipes):
    terminal, its = os.openpty()
    place("stdout", its)
    with begun():
        print("a line")
        assert read_all(terminal, b"a line\r\n")
    os.close(terminal)


def test_standard_streams_have_the_numbers_of_every_process():
    assert streams.DESCRIPTORS == {"stdin": 0, "stdout": 1, "stderr": 2}


@pytest.mark.parametrize("letters", [1, 100_000])
@pytest.mark.parametrize(("name", "title"), [("stdout", "standard output"), ("stderr", "standard error")])
@pytest.mark.parametrize("end", [None, SystemExit(0), SystemExit(None)], ids=["none", "0", "nothing"])
def test_a_full_disk_is_raised_at_the_end(place, pipes, name, title, letters, end):
    place(name, full())
    with pytest.raises(UserError, match=f"^{title}: not usable .*No space left.*Fix: make room"), begun():
        print("a" * letters, file=getattr(sys, name))
        if end:
            raise end


@pytest.mark.parametrize("end", [SystemExit(3), ValueError("mine"), KeyboardInterrupt()])
def test_another_end_of_the_command_stays_what_it_is(place, pipes, end):
    place("stdout", full())
    with pytest.raises(type(end)) as raised, begun():
        print("lost", flush=True)
        raise end
    assert raised.value is end


@pytest.mark.parametrize("name", streams.NAMES)
def test_a_reader_that_has_gone_is_no_error(place, pipes, name):
    place(name, broken())
    with begun():
        for _ in range(3):
            print("a" * 10_000, file=getattr(sys, name), flush=True)


def test_after_its_first_failure_a_stream_gets_nothing_more(place, pipes, tmp_path):
    descriptor = full()
    place("stdout", descriptor)
    with pytest.raises(UserError, match="standard output"), begun():
        print("lost", flush=True)
        again = os.open(tmp_path / "again", os.O_WRONLY | os.O_CREAT)
        os.dup2(again, descriptor)
        os.close(again)
        print("dropped", flush=True)
        os.dup2(broken(), descriptor)
        print("dropped, too", flush=True)
    assert (tmp_path / "again").read_bytes() == b""


@pytest.mark.parametrize("least", [0, FAR])  # the number that the next file gets, and another
@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_a_closed_descriptor_leads_nowhere_and_other_programs_inherit_it(place, pipes, name, least):
    descriptor = fcntl.fcntl(0, fcntl.F_DUPFD, least)
    os.close(descriptor)
    place(name, descriptor)
    with begun():
        assert os.read(descriptor, 1) == b""
        assert os.write(descriptor, b"x") == 1
        assert os.get_inheritable(descriptor)


def test_an_open_descriptor_stays_what_it_is(place, pipes):
    reading, writing = os.pipe()
    place("stdin", reading)
    os.write(writing, b"typed")
    with begun():
        assert os.read(reading, 10) == b"typed"
        assert not os.get_inheritable(reading)
    os.close(writing)


class Elsewhere(io.StringIO):
    """A stream of a test that knows the number of a descriptor, but not that of its name."""

    def fileno(self):
        return FAR


@pytest.mark.parametrize("own", [io.StringIO(), Elsewhere(), object()], ids=["none", "another", "no stream"])
def test_the_stream_of_a_test_keeps_what_is_printed(pipes, own):
    with begun(own):
        assert sys.stdout is own


@pytest.mark.parametrize(
    ("encoding", "bytes_"), [("ascii", b"\\xe9 \\u2192"), ("latin-1", b"\xe9 \\u2192"), ("utf-8", "é →".encode())]
)
def test_what_the_encoding_lacks_is_shown_as_escapes(pipes, encoding, bytes_):
    own = io.TextIOWrapper(io.FileIO(streams.DESCRIPTORS["stdout"], "w", closefd=False), encoding)
    with begun(own):
        print("é →", end="")
    assert pipes("stdout") == bytes_


def test_a_stream_that_was_missing_takes_every_letter(pipes):
    with begun():
        print("é →", end="")
    assert pipes("stdout") == "é →".encode()


def test_a_pipe_without_room_is_waited_for(place, pipes, monkeypatch):
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    place("stdout", writing)
    text, got = "a" * 300_000, []

    def read():
        while sum(map(len, got)) < len(text):
            got.append(os.read(reading, 65536))

    waits, wait = [], select.select
    monkeypatch.setattr(select, "select", lambda *ready: waits.append(ready) or wait(*ready))
    reader = threading.Timer(0.02, read)
    reader.start()
    with begun():
        print(text, end="")
    reader.join()
    os.close(reading)
    assert b"".join(got) == text.encode()
    assert waits  # and the processor was left to others


def test_the_first_failure_counts(place, pipes):
    descriptor = broken()
    place("stdout", descriptor)
    with begun():  # the disk that is full later has nothing to take
        print("lost", flush=True)
        assert sys.stdout.buffer.raw.failure.errno == errno.EPIPE
        assert sys.stdout.buffer.raw.write(b"abc") == 3
        os.dup2(full(), descriptor)
        print("dropped", flush=True)


@pytest.mark.parametrize("way", [full, broken])
def test_a_program_that_takes_the_place_of_this_one_can_print(place, pipes, monkeypatch, way):
    descriptor, taken = way(), []
    place("stdout", descriptor)
    monkeypatch.setattr(os, "execv", lambda *words: taken.append(words))
    with contextlib.suppress(UserError), begun():
        print("lost")
        streams.become(["program", "argument"])
        assert os.write(descriptor, b"a line") == 6
    assert taken == [("program", ["program", "argument"])]


def test_a_program_that_takes_the_place_of_this_one_has_its_terminal(place, pipes, monkeypatch):
    terminal, its = os.openpty()
    place("stdout", its)
    monkeypatch.setattr(os, "execv", lambda *_: os.write(its, b"program"))
    with begun():
        print("before", end=" ")
        streams.become(["program"])
        assert read_all(terminal, b"before program")
    os.close(terminal)


def test_a_process_is_silent_until_it_prints(pipes, monkeypatch):
    monkeypatch.setattr(streams._Stream, "used", False)
    with begun():
        assert streams.silent()
        print("a word", flush=True)
        assert not streams.silent()
