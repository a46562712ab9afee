"""What git knows of the project: commit, remote, and what was edited since."""

import contextlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xtcav_ml.system.errors import MASK, UserError, masked

OUTPUTS = ("**/dvc.lock", "code/*.json", "results/**", "experiments/results/**", "mlruns/**")
"""What stages write and git tracks or ignores: changes there do not make the code dirty."""

LARGEST = 2_000_000
"""Bytes of an untracked file beyond which it is no source file: a patch names it, and does not hold it."""


MOST = 100
"""Commits that are looked at, newest first: what is farther back is no comparison any more."""


class GitError(UserError):
    """Git did not do what was asked; `said` is the first line of its reason."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.said = said


@dataclass(frozen=True)
class Patch:
    """What `git apply` needs to make the commit what the workspace was, untracked files included."""

    content: bytes
    left_out: tuple[str, ...]  # untracked files that are too large


def state(folder: Path = Path()) -> dict[str, str]:
    """Return `commit`, `branch`, `dirty` ("true" if anything but outputs differs from the commit) and `remote`.

    What there is none of is "none"; the remote's address has no user and no password.
    """
    commit = _asked(folder, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": "none", "branch": "none", "dirty": "true", "remote": "none"}
    changed = _asked(folder, "status", "--porcelain", "--", ".", *_without_outputs())
    remote = _asked(folder, "remote", "get-url", "origin") or "none"
    return {
        "commit": commit,
        "branch": _asked(folder, "rev-parse", "--abbrev-ref", "HEAD") or "none",
        "dirty": "true" if changed else "false",
        "remote": masked(remote),
    }


def patch(folder: Path = Path()) -> Patch:
    """Return how the workspace differs from its commit, outputs left out; binary files, too. Neither is touched.

    Raises GitError where git does not answer.
    """
    listed = _run(folder, "ls-files", "--others", "--exclude-standard", "-z", "--", ".", *_without_outputs())
    new = [os.fsdecode(name) for name in listed.split(b"\0") if name]
    large = tuple(name for name in new if (folder / name).lstat().st_size > LARGEST)
    with tempfile.TemporaryDirectory() as name:
        index = Path(name) / "index"
        own = folder / os.fsdecode(_run(folder, "rev-parse", "--git-path", "index").rstrip(b"\n"))
        shutil.copyfile(own, index)
        added = "\0".join(name for name in new if name not in large)
        if added:
            arguments = ["add", "--intent-to-add", "--pathspec-from-file=-", "--pathspec-file-nul"]
            _run(folder, "--literal-pathspecs", *arguments, index=index, said=os.fsencode(added))
        plain = [
            "--binary",
            "--no-ext-diff",
            "--no-textconv",
            "--no-color",
            "--no-renames",
            "--src-prefix=a/",
            "--dst-prefix=b/",
        ]
        content = _run(folder, "diff", *plain, "HEAD", "--", ".", *_without_outputs(), index=index)
    return Patch(content, large)


def show(revision: str, path: str, folder: Path = Path()) -> bytes:
    """Return a file's content in a commit. Raises GitError if there is no such commit, or no such file in it."""
    return _run(folder, "show", "--end-of-options", f"{revision}:./{path}")


def changing(path: str, folder: Path = Path()) -> list[str]:
    """Return the hashes of the commits that changed a file, newest first; none where there is no git."""
    return (_asked(folder, "log", f"--max-count={MOST}", "--format=%H", "--", path) or "").split()


def title(revision: str, folder: Path = Path()) -> str:
    """Return day, short hash and first line of a commit's message. Raises GitError if there is no such revision."""
    found = _run(folder, "show", "--no-patch", "--date=short", "--format=%ad %h %s", "--end-of-options", revision)
    return found.decode(errors="replace").strip()


def export(revision: str, names: Sequence[str], root: Path, folder: Path) -> None:
    """Write files and folders of a commit, by their names, into `folder`. Raises GitError if there is no such revision."""
    commit = _run(root, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").decode().strip()
    content = _run(root, "archive", "--format=tar", commit, "--", *names)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(folder, filter="data")


def clone_at(commit: str, remote: str, root: Path, folder: Path) -> None:
    """Make `folder` a clone of the repository in `root`, at a commit; one that is not there is fetched.

    It is looked for in the origin of `root` and in `remote`, an address as `state` gives it. Raises GitError if none has it.
    """
    _run(root, "clone", "--quiet", "--no-checkout", "--", str(root.resolve()), str(folder.resolve()), seconds=None)
    if _asked(folder, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        origin = _asked(root, "remote", "get-url", "origin") or "none"  # with the user and password that it may need
        for source in {origin, remote.replace(MASK, "")} - {"none"}:
            with contextlib.suppress(GitError):
                _run(folder, "fetch", "--quiet", "--", source, commit, seconds=None)
                break
        else:
            raise GitError(
                f"commit {commit}: must be in this repository, its origin {masked(origin)} or {remote}, got it from none; "
                "`git push` it where it was made, or `git fetch` it from there",
                "no such commit",
            )
    _run(folder, "checkout", "--quiet", "--detach", commit)


def apply(content: bytes, folder: Path) -> None:
    """Change the files of a clone as a patch says. Raises GitError if they are not what it was made of."""
    _run(folder, "apply", "--whitespace=nowarn", "-", said=content)


def _without_outputs() -> list[str]:
    return [f":(exclude,glob){name}" for name in OUTPUTS]


def _asked(folder: Path, *arguments: str) -> str | None:
    try:
        return os.fsdecode(_run(folder, *arguments)).strip()
    except GitError:
        return None


def _run(
    folder: Path,
    *arguments: str,
    index: Path | None = None,
    said: bytes | None = None,
    seconds: float | None = 60,
) -> bytes:
    env = {**os.environ, "GIT_INDEX_FILE": str(index)} if index else None
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=env, input=said, capture_output=True, timeout=seconds, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", None) or str(error).encode()
        line = (os.fsdecode(told).splitlines() or ["no answer"])[0]
        raise GitError(f"git {' '.join(arguments)}: must succeed in {folder.resolve()}, got {line!r}", line) from None
    return done.stdout
