"""The project that a command works on: its folder, and whether the code that runs is that folder's own."""

import os
from pathlib import Path

from xtcav_ml.config.paths import PARAMS_FILE
from xtcav_ml.system.errors import UserError

PACKAGE = Path(__file__).parent.parent


def find_root() -> Path:
    """Return the project's folder, the nearest above DVC_ROOT inside a stage, else above this one, with its two files.

    DVC runs queued experiments in temporary copies; DVC_ROOT is then still the original, where the MLflow store is. In a stage
    of the notes it is their folder. The path is relative, so that it stays right if the project is moved meanwhile. Raises
    UserError if this folder is in no project, or not in that of DVC_ROOT.
    """
    here, stage_root = Path.cwd(), os.environ.get("DVC_ROOT")
    start = Path(stage_root).resolve() if stage_root else here
    for root in (start, *start.parents):
        if (root / "dvc.yaml").is_file() and (root / PARAMS_FILE).is_file() and here.is_relative_to(root):
            return Path(*[".."] * len(here.relative_to(root).parts))
    if stage_root:
        raise UserError(
            f"DVC_ROOT: another project than that of {here} (found {stage_root!r}, expected the folder itself or one above). "
            "Fix: unset DVC_ROOT"
        )
    raise UserError(
        f"{here}: not in a project (found no dvc.yaml here or above, expected one). Fix: go to the project's folder"
    )


def require_own_code() -> None:
    """Raise UserError if the project of this folder has other sources than those that run, which its results would not have.

    That happens with the programs of another project's .venv on the PATH. Outside of a project there is nothing to compare.
    """
    try:
        own = find_root() / "src" / PACKAGE.name
    except UserError:
        return
    if not own.is_dir() or own.samefile(PACKAGE):
        return
    names = {path.relative_to(folder) for folder in (own, PACKAGE) for path in folder.rglob("*.py")}
    for name in sorted(names):
        files = own / name, PACKAGE / name
        if not all(file.is_file() for file in files) or files[0].read_bytes() != files[1].read_bytes():
            raise UserError(
                f"src/{PACKAGE.name}/{name}: not the code that runs (found that of {PACKAGE.parent}, expected that of "
                f"{own.parent.resolve()}). Fix: run `make install` in this project, and use the programs of its .venv/bin"
            )
