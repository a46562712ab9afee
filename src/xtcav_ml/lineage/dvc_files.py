"""DVC's own files, which it writes in place: a kill or a full disk leaves them empty or torn, which stops each `dvc repro`."""

import json
from pathlib import Path

from xtcav_ml.config.paths import LOCK_FILES
from xtcav_ml.lineage import dvc_lock
from xtcav_ml.system.errors import reading
from xtcav_ml.system.parent_process import BUSY, is_dvc


def require_usable(root: Path = Path()) -> None:
    """Remove a torn or outdated list of DVC's processes if none runs in `root`, the folder of a DVC project, and say so.

    Raises UserError if one does, or if a dvc.lock is damaged.
    """
    require_whole(root)
    busy = root / BUSY
    if not busy.exists() or _is_whole(busy):
        return
    running = _dvc_in(root)
    with reading(busy, "JSON", f"wait for process {', '.join(map(str, running))} of DVC, then run the command again"):
        if running:
            raise ValueError("a torn file")
    busy.unlink()
    print(f"{busy}: removed, it was torn, and no process of DVC runs in this project")


def require_whole(root: Path) -> None:
    """Raise UserError if a dvc.lock of the project in `root` is damaged."""
    for lock in (root / name for name in LOCK_FILES):
        if lock.exists():
            with reading(lock, "stages", dvc_lock.CURE.format(lock)):
                text = lock.read_bytes()
                if not text.strip():
                    raise ValueError("an empty file")
            dvc_lock.parse(text, lock)


def _is_whole(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
        return all(isinstance(content.get(kind, {}), dict) for kind in ("read", "write"))
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def _dvc_in(root: Path) -> list[int]:
    """Return the numbers of the processes of `dvc` in the project in `root`, also of those in a folder of it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if is_dvc(int(process.name)):
                here = (process / "cwd").resolve()
                if next((one for one in (here, *here.parents) if (one / ".dvc").is_dir()), here).samefile(root):
                    found.append(int(process.name))
        except OSError:  # of another user, or ended
            continue
    return found
