"""Python programs in a project's folder: they run its sources, whatever project is installed."""

import os
import subprocess
import sys
from pathlib import Path

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


def run_python(folder: Path, *arguments: str, shown: bool = False) -> subprocess.CompletedProcess[str]:
    """Run Python in `folder` with `environment_of` it, and keep what it prints, or let it be `shown`."""
    command, environment = [sys.executable, *arguments], environment_of(folder)
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=not shown,
        text=True,
        check=False,
        preexec_fn=killed_with_parent(),
    )
