import re
import time

import pytest

from tests.terminal import screens
from xtcav_ml.system import progress
from xtcav_ml.system.errors import shown as as_shown
from xtcav_ml.system.errors import warn


@pytest.mark.parametrize(
    ("speed", "words"),
    [(1234, "1234/s"), (10, "10/s"), (2.25, "2.2/s"), (1, "1.0/s"), (0.4, "2.5 s each"), (0.008, "125 s each")],
)
def test_a_pace_is_never_0(speed, words):
    assert progress.pace(speed) == words


def test_slow_steps_say_how_long_they_take_and_the_first_is_no_measure(monkeypatch, capsys):
    clock = iter([0.0, 0.0, 27.0, 37.0, 43.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.counting("steps", 7) as advance:
        for count in (1, 1, 1):  # the first waits for a compiler
            advance(count)
    assert capsys.readouterr().out.splitlines() == [
        "  1 of 7 steps, 0:00:27 passed",
        "  2 of 7 steps, 10 s each, 0:00:37 passed, 0:00:50 left",
    ]


def test_a_slow_first_step_is_waited_for(monkeypatch, capsys):
    clock = iter([0.0, 0.0, 16.0, 20.0, 32.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.counting("shots", 8) as advance:
        advance(0)
        assert not capsys.readouterr().out
        advance(2)
        advance(4)
    assert "6 of 8 shots, 3 s each, 0:00:32 passed, 0:00:06 left" in capsys.readouterr().out


def test_a_wait_within_another_is_told_once(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SILENT_SECONDS", 0.01)
    with progress.told("waits"), progress.told("waits"):
        time.sleep(0.1)
    with progress.told("waits"):
        time.sleep(0.1)
    assert capsys.readouterr().err.splitlines() == ["xtcav: waits"] * 2


ODD = {
    "escape": "\x1b[2J\x1b]0;title\x07",
    "C1": "\x9b31m",
    "return": "a\rb",
    "backspace": "a\b",
    "right to left": "\u202egpj",
    "half character": "\ud800",
    "markup": "[red]x[/red]",
}


@pytest.mark.parametrize("name", ODD.values(), ids=ODD)
def test_a_name_in_a_table_and_in_a_line_does_nothing_to_the_terminal(name, capsys):
    table = progress.titled_table(f"title {name}", (f"heading {name}",))
    table.add_row(f"cell {name}")
    screen = progress.console()
    screen.print(table)
    screen.print(f"line {name}")
    printed = capsys.readouterr().out
    assert printed.replace("\n", "").isprintable()
    for place in ("title", "heading", "cell", "line"):
        assert f"{place} {as_shown(name)}" in printed


@pytest.mark.parametrize("width", [40, 80, 200])
def test_what_is_printed_beside_a_bar_is_never_in_its_line(monkeypatch, capsys, width):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    with progress.counting("steps", 3) as advance:
        screen = progress.console()
        for step in range(3):
            advance(1)
            time.sleep(0.11)  # the bar is drawn ten times a second
            screen.print(f"row {step}")
            print(f"line {step}")
            warn(f"warning {step}")
    shown = screens(capsys.readouterr().out, width)
    assert any("━" in line for lines in shown for line in lines)
    for lines in shown:
        assert not any("━" in line and re.search("row|line|warning", line) for line in lines)
    own = [line for line in shown[-1] if line]
    assert own == [f"{kind} {step}" for step in range(3) for kind in ("row", "line", "xtcav: warning")]
    assert all(len(line) <= width for lines in shown for line in lines if "━" in line)


def test_a_clock_has_hours_minutes_and_seconds():
    assert [progress.clock(seconds) for seconds in (0, 64.6, 36061)] == ["0:00:00", "0:01:05", "10:01:01"]


WORDS = ("short", "a-long-word", "a sentence of many words that has room below itself and not beside")


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_table_on_a_terminal_tears_no_word_and_no_row(monkeypatch, capsys, width):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    table = progress.titled_table("title", ("one", "two words", "three"), {"three"})
    for _ in range(2):
        table.add_row(*WORDS)
    screen = progress.console()
    screen.print(table)
    lines = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    rows = [line for line in lines if line.startswith(("│", "┃"))]
    assert max(map(len, lines)) <= max(width, progress.NARROWEST)
    assert len({len(line) for line in rows}) == 1
    cells = " ".join(row.strip("│┃ ") for row in rows)
    assert [word for word in " ".join(WORDS).split() if word not in cells] == []
    assert "…" not in cells


def test_a_long_line_on_a_terminal_goes_on_at_a_word_and_an_address_is_whole(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    line = "  train " + "word " * 30 + "http://host/" + "a" * 90
    progress.console().print(line)
    first, *others = capsys.readouterr().out.rstrip("\n").splitlines()
    assert " ".join([first, *(one.strip() for one in others)]).split() == line.split()
    assert len(first) <= 80
    assert others[-1].strip() == "http://host/" + "a" * 90
