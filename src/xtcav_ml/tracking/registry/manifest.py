"""The SHA-256 of every file of a model's folder, in a file beside them: none can be changed, added or removed unseen."""

import hashlib
import json
from pathlib import Path

from xtcav_ml.system.errors import UserError

NAME = "manifest.json"
NOT_LISTED = {NAME, "registered_model_meta"}
"""Files at the top of the folder: MLflow writes the latter, name and version, when it loads a model by its name."""


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(folder: Path) -> str:
    """List the files of `folder` in its manifest, and return the SHA-256 of that."""
    (folder / NAME).write_text(json.dumps(_hashes(folder), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return sha256(folder / NAME)


def verify(folder: Path, name: str, expected: str | None = None) -> None:
    """Raise UserError, about the model `name`, if a file of `folder` is not as its manifest says.

    The manifest itself must have the SHA-256 `expected`, if that is known from elsewhere: without it, whoever can change a
    file could change the manifest too.
    """
    path = folder / NAME
    if not path.is_file():
        _refuse(name, NAME, "none")
    if expected is not None and sha256(path) != expected:
        _refuse(name, NAME, "another")
    try:
        listed = json.loads(path.read_bytes())
    except ValueError:
        _refuse(name, NAME, "a broken one")
    present = _hashes(folder)
    for file in sorted({*listed, *present}):
        if file not in present:
            _refuse(name, file, "none")
        if listed.get(file) != present[file]:
            _refuse(name, file, "other bytes" if file in listed else "a file that is not in its manifest")


def _hashes(folder: Path) -> dict[str, str]:
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: "a link" if path.is_symlink() else sha256(path)
        for name, path in files.items()
        if name not in NOT_LISTED and (path.is_symlink() or not path.is_dir())
    }


def _refuse(name: str, file: str, got: str) -> None:
    raise UserError(
        f"{name}: {file} is not as it was logged (found {got}, expected what {NAME} lists). Fix: do not use it; restore a "
        "copy, or train again"
    )
