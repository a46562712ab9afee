"""Files as commits have them."""

import subprocess
from pathlib import Path

MOST = 100
"""Commits that are looked at, newest first: an answer farther back is no comparison any more."""


def show(root: Path, revision: str, name: str) -> str:
    """Return file `name` of the project in folder `root` as `revision` has it.

    Raises LookupError, with git's reason, if it has none or there is no such revision.
    """
    return _git(root, "show", "--end-of-options", f"{revision}:./{name}")


def changing(root: Path, name: str) -> list[str]:
    """Return the hashes of the commits that changed file `name`, newest first; none where there is no git."""
    try:
        return _git(root, "log", f"--max-count={MOST}", "--format=%H", "--", name).split()
    except LookupError:
        return []


def title(root: Path, revision: str) -> str:
    """Return day, short hash and first line of a commit's message. Raises LookupError if there is no such revision."""
    return _git(root, "show", "--no-patch", "--date=short", "--format=%ad %h %s", "--end-of-options", revision).strip()


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
    except OSError as error:
        raise LookupError(f"git: {error.strerror}") from None
    if done.returncode:
        raise LookupError((done.stderr.splitlines() or ["nothing"])[0])
    return done.stdout
