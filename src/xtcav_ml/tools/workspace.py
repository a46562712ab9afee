"""Python programs in a project's folder: they run its sources, whatever project is installed."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from xtcav_ml.system.parent_process import killed_with_parent

ELSEWHERE = ("MLFLOW_", "DVC_ROOT", "DVC_STAGE", "DVC_EXP_")
"""Begin the variables that would point a stage to another project, or its run to another store."""


def environment_of(folder: Path) -> dict[str, str]:
    """Return the variables for commands in `folder`: this Python's programs, but the sources of the folder.

    The installed `xtcav` is that of the present project; PYTHONPATH comes before it.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ELSEWHERE)}
    first = {"PATH": str(Path(sys.executable).parent), "PYTHONPATH": str(folder.resolve() / "src")}
    return kept | {name: os.pathsep.join(filter(None, (value, kept.get(name)))) for name, value in first.items()}


def run_python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in `folder` with `environment_of` it, and keep what it prints."""
    command, environment = [sys.executable, *arguments], environment_of(folder)
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=killed_with_parent(),
    )


@contextlib.contextmanager
def shown_python(folder: Path, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start Python in `folder`, with `options` of Popen, and show what it prints.

    Where this process's own output is no terminal, it passes that on: DVC does not do its work where nobody reads on, or
    where the disk is full.
    """
    own = sys.stdout, sys.stderr
    out, error = (None if stream.isatty() else subprocess.PIPE for stream in own)
    command = [sys.executable, *arguments]
    with subprocess.Popen(
        command, cwd=folder, stdout=out, stderr=error, text=True, errors="replace", **options
    ) as process:
        ways = [pair for pair in zip((process.stdout, process.stderr), own, strict=True) if pair[0] is not None]
        threads = [threading.Thread(target=_pass_on, args=pair) for pair in ways]
        for thread in threads:
            thread.start()
        try:
            yield process
        finally:
            process.wait()
            for thread in threads:
                thread.join()


def _pass_on(pipe: TextIO, own: TextIO) -> None:
    for line in pipe:
        own.write(line)
        own.flush()
