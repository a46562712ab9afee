"""Every command with an output that is closed, full or narrow: its work is done, and no traceback is shown."""

import contextlib
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests import warm_process
from tests.commands import COMMANDS, SHORT, SILENT, finished_project, shell_line
from tests.end_to_end.conftest import Project, clean_environment
from tests.servers import end, free_port
from xtcav_ml.cli import main

NOISE = ("Traceback", "Exception ignored", "BrokenPipe", "ValueError")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return finished_project(tmp_path_factory.mktemp("streams"))


def test_the_table_has_every_command():
    assert sorted(COMMANDS) == main.files()


def run(project, name, way, **env):
    line = way.format(shell_line(name))
    before = f"git checkout -q params.yaml; {COMMANDS[name].before}"
    done = project.run("bash", "-c", f"{before}; {line}; exit ${{PIPESTATUS[0]}}", check=False, **env)
    assert not any(word in done.stderr for word in NOISE), done.stderr
    return done


@pytest.mark.parametrize("name", SHORT)
def test_a_full_output_is_one_line_and_the_work_is_done(project, name):
    metrics = project.folder / "results/evaluation.json"
    if name == "evaluate":
        metrics.unlink()
    done = run(project, name, "{} > /dev/full")
    if name in SILENT:
        assert done.returncode == 0
        return
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("xtcav: standard output: not usable (found 'No space left")
    assert metrics.is_file()


def test_a_pipeline_whose_reader_has_gone_is_done_or_says_so(project):
    """DVC itself does not start a stage that it cannot announce, and says so by a line or by the exit code of SIGPIPE, 141."""
    project.run("bash", "-c", "dvc repro | true")
    done = project.run("bash", "-c", "dvc repro --force --single-item evaluate > >(head -1)", check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 141) or "Broken pipe" in done.stderr
    project.run("dvc", "repro")


def on_terminal(project, line, **env):
    """Run a command on a terminal of its own, and return its exit code and what it prints."""
    terminal, its = os.openpty()
    process = subprocess.Popen(
        ["bash", "-c", line],
        cwd=project.folder,
        env={**clean_environment(), **warm_process.environment(project.shared), **env},
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
    done = run(project, name, "{}", **NARROW, TERM="dumb")
    assert done.returncode == 0, done.stderr
    tables = done.stdout.split("\n\n")
    assert any("┃" in table for table in tables)
    assert "…" not in done.stdout


@pytest.mark.parametrize("terminal", ["dumb", "xterm"])
def test_progress_on_a_narrow_terminal(project, terminal):
    code, said = on_terminal(project, f"rm -rf results/tuning; {shell_line('tune')}", **NARROW, TERM=terminal)
    assert code == 0, said
    assert "Traceback" not in said
    assert re.search("Best +trial", said)


LONG = ("evaluate", "record", "report", "same", "show")  # seconds each, with few lines
EIGHTY = {"COLUMNS": "80", "LINES": "24", "TERM": "xterm"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in SHORT])
def test_every_command_at_80_columns(project, name):
    """Errors are one line whatever its length, and an address is whole."""
    code, said = on_terminal(project, f"{COMMANDS[name].before}; {shell_line(name)}", **EIGHTY)
    assert code == 0, said
    lines = [
        line for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[\d;?]*\w", "", said)) if not line.startswith("xtcav: ")
    ]
    assert [line for line in lines if len(line) > 80 and " " in line.strip()] == []
    assert "…" not in said
    for table in re.findall(r"┏.*?┘", "\n".join(lines), re.DOTALL):
        assert len({len(line) for line in table.split("\n")}) == 1, f"a torn row\n{table}"


SLOWLY = "python -c 'import fcntl, os; os.set_blocking(1, False); fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 4096)'"
"""Makes standard output, a pipe, one that does not block, with little room in it."""

WAYS = {
    "read no more": "{} | true",
    "read one line": "{} | head -1",
    "no output": "{} >&-",
    "no error": "{} 2>&-",
    "full": "{} > /dev/full",
    "error full, no input": "{} < /dev/null 2> /dev/full",
    "not blocking": f"{{{{ {SLOWLY}; {{}}; }}}} | (sleep 0.5; cat)",
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SHORT)
def test_every_command_with_every_output(project, name, way):
    done = run(project, name, WAYS[way])
    assert done.returncode == (way == "full" and name not in SILENT), done.stderr
    own = [line for line in done.stderr.splitlines() if line.startswith("xtcav: ") and "waits for" not in line]
    assert len(own) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("way", ["read no more", "no error", "full"])
def test_a_run_is_reproduced_with_every_output(tmp_path, way):
    project = Project.with_small_frames(tmp_path / "project")
    project.run("git", "add", "raw")
    project.run("git", "commit", "-q", "--amend", "--no-edit")
    project.run("dvc", "repro", **{warm_process.ALL_FRAMES: "1"})  # as many as the processes of `reproduce` draw
    done = run(project, "reproduce", WAYS[way].replace("{}", f"{{}} --into {tmp_path}/again"))
    assert done.returncode == (way == "full"), done.stderr
    assert (tmp_path / "again/results/evaluation.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["read no more", "no output", "no error", "full"])
@pytest.mark.parametrize(("name", "page"), [("serve", "ping"), ("ui", "health")])
def test_a_server_answers_with_every_output(project, name, page, way):
    port = free_port()
    line = WAYS[way].format(shell_line(name).replace("--port 1", f"--port {port}"))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    server = subprocess.Popen(
        ["bash", "-c", line],
        cwd=project.folder,
        env={**clean_environment(), "PATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/{page}")
    finally:
        end(server)
    said = server.stderr.read().decode()
    assert not any(word in said for word in NOISE), said


def wait_for(address):
    deadline = time.monotonic() + 300
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("terminal", ["dumb", "xterm", ""])
@pytest.mark.parametrize("name", SHORT)
def test_every_command_on_a_narrow_terminal(project, name, terminal):
    code, said = on_terminal(project, f"{COMMANDS[name].before}; {shell_line(name)}", **NARROW, TERM=terminal)
    assert code == 0, said
    assert "Traceback" not in said
