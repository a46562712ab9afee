"""The processes of `dvc`: those that its own list in a project names, and those that run there."""

import json
from pathlib import Path
from typing import Any

BUSY = Path(".dvc/tmp/rwlock")
"""Which processes of DVC read and write which files: {"read": {path: [...]}, "write": {path: {"pid": ..., "cmd": ...}}}."""


def read_list(root: Path) -> dict[str, dict[str, Any]]:
    """Return DVC's list in the project of folder `root`. Raises OSError if there is none, ValueError if it is torn."""
    content = json.loads((root / BUSY).read_bytes())
    if not (isinstance(content, dict) and all(isinstance(content.get(kind, {}), dict) for kind in ("read", "write"))):
        raise ValueError("a torn file")
    return content


def project_of(folder: Path) -> Path:
    """Return the folder of the DVC project that a folder is in; the folder itself if it is in none."""
    return next((one for one in (folder, *folder.parents) if (one / ".dvc").is_dir()), folder)


def is_dvc(process: int) -> bool:
    """Return whether a process, by its number, is a `dvc`. Raises OSError if it has ended."""
    words = Path(f"/proc/{process}/cmdline").read_text(errors="replace").split("\0")[:4]  # with Python and its options
    return any(Path(word).name == "dvc" for word in words)


def running_in(root: Path) -> list[int]:
    """Return the numbers of the processes of `dvc` in the project in `root`, also of those in a folder of it."""
    running = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if is_dvc(int(process.name)) and project_of((process / "cwd").resolve()).samefile(root):
                running.append(int(process.name))
        except OSError:  # of another user, or ended
            continue
    return running
