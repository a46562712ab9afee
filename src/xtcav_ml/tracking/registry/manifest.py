"""The SHA-256 of every file of a model's folder, in a file beside them: none can be changed, added or removed unseen.

MLflow checks no content of a model that it loads.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import NoReturn

from xtcav_ml.system.errors import UserError

MANIFEST = "manifest.json"
NAMED = "registered_model_meta"
NAME_AND_VERSION = re.compile(r"model_name: '?[\w .-]{1,250}'?\nmodel_version: ('?\d{1,9}'?|null)\n")
"""A file at the top of the folder that MLflow writes when it loads a model, and its content: null where it has no name."""


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path) -> str:
    """List the files of `folder` in its manifest, and return the SHA-256 of that."""
    (folder / MANIFEST).write_text(json.dumps(_hashes(folder), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return sha256(folder / MANIFEST)


def verify(folder: Path, name: str, expected: str | None = None) -> None:
    """Raise UserError, about the model `name`, if a file of `folder` is not as its manifest says.

    The manifest itself must have the SHA-256 `expected`, if one is given: whoever can change a file could change it too.
    """
    path, cure = folder / MANIFEST, "do not use it; restore a copy, or train again"

    def refuse(file: str, got: str) -> NoReturn:
        raise UserError(
            f"{name}: {file} is not as it was logged (found {got}, expected the bytes that {MANIFEST} lists). Fix: {cure}"
        )

    if not path.is_file():
        refuse(MANIFEST, "no file")
    if expected is not None and sha256(path) != expected:
        refuse(MANIFEST, "another")
    try:
        listed, present = dict(json.loads(path.read_bytes())), _hashes(folder)
    except (ValueError, TypeError):
        refuse(MANIFEST, "a broken one")
    for file in sorted({*listed, *present}):
        if file not in present:
            refuse(file, "no file")
        if listed.get(file) != present[file]:
            refuse(file, "other bytes" if file in listed else "a file that is not in its manifest")


def _hashes(folder: Path) -> dict[str, str]:
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: "a link" if path.is_symlink() else sha256(path)
        for name, path in files.items()
        if name != MANIFEST and not _is_name(path, name) and (path.is_symlink() or not path.is_dir())
    }


def _is_name(path: Path, name: str) -> bool:
    """Return whether a file of the folder is what MLflow adds to it, and holds nothing else."""
    plain = name == NAMED and path.is_file() and not path.is_symlink() and path.stat().st_size < 500
    return plain and NAME_AND_VERSION.fullmatch(path.read_text(encoding="utf-8", errors="replace")) is not None
