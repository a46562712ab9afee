"""Whether the page is that of the present results, found without making it: half of a `make repro` with nothing to do.

The page holds a digest of all that it is made from. A large file counts as unchanged by inode, size and time, as for DVC; a
small one by its content, since DVC writes its lock at each call.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from xtcav_ml.config.paths import GROUP, LOCK_FILE, LOCK_FILES, MODEL, PARAMS_FILE, PREPARED, RESULTS, SEEDS
from xtcav_ml.lineage import git
from xtcav_ml.lineage.fingerprint import PACKAGE
from xtcav_ml.lineage.used_code import digest

Run = Mapping[str, str] | None
"""Id, experiment and store of the results' run in MLflow, if there is one."""

SMALL = 2**22  # bytes of a file that is read


def made_from(root: Path, out: Path, run: Run) -> str:
    """Return a digest of the results of the project in `root`, their run and commit, and this package, but not of `out`."""
    inputs = (path for path in _inputs(root) if path.suffix not in (".html", ".pyc") and not path.name.startswith("."))
    files = sorted(path for path in inputs if path.is_file())
    states = [(str(path), _state(path)) for path in files]
    return digest(json.dumps([states, git.state(root), str(out), run]))


def _state(path: Path) -> tuple[int, ...] | str:
    try:
        status = path.stat()
        if status.st_size <= SMALL:
            return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    except FileNotFoundError:  # another command has removed it meanwhile
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns


def is_current(root: Path, out: Path, run: Run) -> bool:
    """Return whether the page `out` was made from all that is there now."""
    with contextlib.suppress(FileNotFoundError, IsADirectoryError):
        page = out.read_text(encoding="utf-8", errors="replace")
        return f'content="{made_from(root, out, run)}"' in page
    return False


def _inputs(root: Path) -> Iterator[Path]:
    yield from (root / name for name in (PARAMS_FILE, MODEL, *LOCK_FILES, SEEDS / LOCK_FILE))
    for folder in (root / RESULTS, root / PREPARED, root / GROUP.parent, PACKAGE):
        yield from folder.rglob("*")
