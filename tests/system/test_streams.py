"""What is printed to a closed, full or missing stream is dropped: no traceback, and the work is done."""

import os
import subprocess
import sys
import time

import pytest

PROGRAM = """
import sys
from xtcav_ml.system.errors import UserError, warn
from xtcav_ml.system.streams import forgiving
try:
    with forgiving():
        for number in range(int(sys.argv[1])):
            print(number)
        open("done", "w").write("all")
        warn("told")
except UserError as error:
    warn(error)
    sys.exit(1)
"""

WAYS = {"| true": 0, "| head -1": 0, ">&-": 0, "> /dev/full": 1, "2>&-": 0, "2> /dev/full": 1, "<&- >&- 2>&-": 0}
"""Redirections, and the exit codes of a command whose output they take."""


@pytest.mark.parametrize("lines", [1, 100_000])
@pytest.mark.parametrize("way", WAYS)
def test_the_work_is_done_and_a_full_disk_is_said(tmp_path, way, lines):
    command = f"{sys.executable} -c '{PROGRAM}' {lines} {way}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == WAYS[way]
    assert (tmp_path / "done").read_text() == "all"
    told = [] if "2>" in way else ["xtcav: told"]
    if way == "> /dev/full":
        told.append(
            "xtcav: standard output: not usable (found 'No space left on device', expected room on its disk). "
            "Fix: make room, then run the command again"
        )
    assert done.stderr.splitlines() == told


def test_a_closed_stream_leads_nowhere_for_other_programs_too(tmp_path):
    program = "import subprocess\nfrom xtcav_ml.system.streams import forgiving\nwith forgiving():\n    "
    program += 'subprocess.run(["sh", "-c", "echo said && echo said >&2 && touch done"], check=True)'
    subprocess.run(["bash", "-c", f"{sys.executable} -c '{program}' >&- 2>&-"], cwd=tmp_path, check=True)
    assert (tmp_path / "done").exists()


def test_a_pipe_that_does_not_block_gets_everything(tmp_path):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with subprocess.Popen([sys.executable, "-c", PROGRAM, "30000"], cwd=tmp_path, stdout=writer) as running:
        os.close(writer)
        time.sleep(0.3)  # until the pipe is full
        with os.fdopen(reader) as pipe:
            assert pipe.read().split() == [str(number) for number in range(30000)]
        assert running.wait() == 0
