"""Every command with an output that is closed, full or narrow: its work is done, and no traceback is shown."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import COMMANDS, SHORT, finished_project, shell_line
from tests.end_to_end.conftest import clean_environment
from xtcav_ml.cli import main

NOISE = ("Traceback", "Exception ignored", "BrokenPipe", "ValueError")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return finished_project(tmp_path_factory.mktemp("streams"))


def test_the_table_has_every_command():
    assert sorted(COMMANDS) == main.files()


def run(project, name, way, **env):
    line = f"git checkout -q params.yaml; {COMMANDS[name].before}; {shell_line(name)} {way}; exit ${{PIPESTATUS[0]}}"
    done = project.run("bash", "-c", line, check=False, **env)
    assert not any(word in done.stderr for word in NOISE), done.stderr
    return done


@pytest.mark.parametrize("name", SHORT)
def test_a_full_output_is_one_line_and_the_work_is_done(project, name):
    metrics = project.folder / "results/metrics.json"
    if name == "evaluate":
        metrics.unlink()
    done = run(project, name, "> /dev/full")
    if name == "validate":  # prints nothing
        assert done.returncode == 0
        return
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("xtcav: standard output: not usable (found 'No space left")
    assert metrics.is_file()


def test_a_pipeline_whose_reader_has_gone_is_done_or_says_so(project):
    """DVC itself does not start a stage that it cannot announce."""
    project.run("bash", "-c", "dvc repro | true")
    done = project.run("bash", "-c", "dvc repro --force --single-item evaluate > >(head -1)", check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or "Broken pipe" in done.stderr
    project.run("dvc", "repro")


def on_terminal(project, line, **env):
    """Run a command on a terminal of its own, and return its exit code and what it prints."""
    terminal, its = os.openpty()
    process = subprocess.Popen(
        ["bash", "-c", line],
        cwd=project.folder,
        env={**clean_environment(), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **env},
        stdin=its,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    said = b""
    with contextlib.suppress(OSError):  # Linux's way of saying that the other end is closed
        while part := os.read(terminal, 65536):
            said += part
    os.close(terminal)
    return process.wait(), said.decode()


NARROW = {"COLUMNS": "20", "LINES": "1"}


@pytest.mark.parametrize("name", ["describe", "summary", "scan", "compare"])
def test_tables_are_whole_however_narrow_the_terminal_is(project, name):
    done = run(project, name, "", **NARROW, TERM="dumb")
    assert done.returncode == 0, done.stderr
    tables = done.stdout.split("\n\n")
    assert any("┃" in table for table in tables)
    assert "…" not in done.stdout


@pytest.mark.parametrize("terminal", ["dumb", "xterm"])
def test_progress_on_a_narrow_terminal(project, terminal):
    code, said = on_terminal(project, f"rm -rf results/tuning; {shell_line('tune')}", **NARROW, TERM=terminal)
    assert code == 0, said
    assert "Traceback" not in said
    assert "Best: trial" in said


@pytest.mark.slow
@pytest.mark.parametrize("way", ["| true", "| head -1", ">&-", "2>&-", "> /dev/full", "< /dev/null 2> /dev/full"])
@pytest.mark.parametrize("name", SHORT)
def test_every_command_with_every_output(project, name, way):
    project.real = True
    done = run(project, name, way)
    assert done.returncode == ("/dev/full" in way and "2>" not in way), done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("xtcav: ")]) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("terminal", ["dumb", "xterm", ""])
@pytest.mark.parametrize("name", SHORT)
def test_every_command_on_a_narrow_terminal(project, name, terminal):
    code, said = on_terminal(project, f"{COMMANDS[name].before}; {shell_line(name)}", **NARROW, TERM=terminal)
    assert code == 0, said
    assert "Traceback" not in said
