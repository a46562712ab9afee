"""DVC's own files, which it writes in place: a kill or a full disk leaves them empty or torn, which stops each `dvc repro`."""

from pathlib import Path

from xtcav_ml.config.paths import LOCK_FILES
from xtcav_ml.lineage import dvc_lock
from xtcav_ml.system.dvc_processes import BUSY, read_list, running_in
from xtcav_ml.system.errors import DAMAGES, reading


def require_usable(root: Path = Path()) -> None:
    """Remove a torn or outdated list of DVC's processes if none runs in `root`, the folder of a DVC project, and say so.

    Raises UserError if one does, or if a dvc.lock is damaged.
    """
    require_whole(root)
    busy = root / BUSY
    try:
        read_list(root)
    except FileNotFoundError:
        return
    except (OSError, *DAMAGES):
        running = running_in(root)
        with reading(
            busy, "JSON", f"wait for process {', '.join(map(str, running))} of DVC, then run the command again"
        ):
            if running:
                raise
    else:
        return
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
