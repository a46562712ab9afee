"""The project in git: commit, remote, and the edits since.

By the `git` command itself: GitPython and Dulwich read a repository, but do not write the patch that `git apply` takes.
"""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xtcav_ml.system.errors import MASK, UserError, masked

TRACKED_OUTPUTS = ("**/dvc.lock", "**/code/*.json", "results/**", "experiments/results/**", "mlruns/**")
SOURCES = (".", *(f":(exclude,glob){name}" for name in TRACKED_OUTPUTS))
"""All but the outputs of stages, which git tracks or ignores: changes there do not make the code dirty."""

LARGEST_SOURCE = 2_000_000  # bytes; a patch names a larger untracked file, and does not hold it
COMPARED_COMMITS = 100  # the newest ones; an older result is no comparison any more


CURES = {
    "owner": "run `git config --global --add safe.directory {folder}`",  # another user's, or a mounted disk's
    "not a git repository": "run `git init`, `git add --all` and `git commit`",
    "unknown revision": "run `git add --all` and `git commit`",
    "No such file": "install git",
}
"""By what git's error has in it; `folder` is what it names in quotes."""


class GitError(UserError):
    """Git failed; `reason` is the first line of its error."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Patch:
    """The edits since a commit, for `git apply`, untracked files included."""

    content: bytes
    left_out: tuple[str, ...]  # untracked files that are too large


def state(folder: Path = Path()) -> dict[str, str]:
    """Return `commit`, `branch`, `dirty` ("true" if anything but outputs differs from the commit) and `remote`.

    A missing one is "none"; the remote's address has no user and no password. Without a commit there is the `problem` too.
    """
    if trouble := problem(folder):
        return {"commit": "none", "branch": "none", "dirty": "true", "remote": "none", "problem": trouble}
    commit, branch = _git(folder, "rev-parse", "HEAD", "--abbrev-ref", "HEAD").decode(errors="surrogateescape").split()
    return {
        "commit": commit,
        "branch": branch,
        "dirty": "true" if _answer(folder, "status", "--porcelain", "--untracked-files", "--", *SOURCES) else "false",
        "remote": masked(_answer(folder, "remote", "get-url", "origin") or "none"),
    }


def problem(folder: Path = Path()) -> str:
    """Return why git has no commit for what is done in a folder, in one line with the cure; empty if it has one."""
    try:
        _git(folder, "rev-parse", "HEAD")
    except GitError as error:
        cure = next((cure for part, cure in CURES.items() if part in error.reason), "run `git status`")
        quoted = re.search("'(.*)'", error.reason)
        cure = cure.format(folder=shlex.quote(quoted[1] if quoted else str(folder.resolve())))
        return f"git: results name no commit (found {error.reason!r}, expected a commit). Fix: {cure}"
    return ""


def patch(folder: Path = Path()) -> Patch:
    """Return the edits of the workspace since its commit, except outputs; changes neither. Raises GitError without git."""
    listed = _git(folder, "ls-files", "--others", "--exclude-standard", "-z", "--", *SOURCES)
    new = [os.fsdecode(name) for name in listed.split(b"\0") if name]
    large = tuple(name for name in new if (folder / name).lstat().st_size > LARGEST_SOURCE)
    with tempfile.TemporaryDirectory() as name:
        index = Path(name) / "index"
        own = folder / os.fsdecode(_git(folder, "rev-parse", "--git-path", "index").rstrip(b"\n"))
        shutil.copyfile(own, index)
        added = "\0".join(name for name in new if name not in large)
        if added:
            arguments = ["add", "--intent-to-add", "--pathspec-from-file=-", "--pathspec-file-nul"]
            _git(folder, "--literal-pathspecs", *arguments, index=index, stdin=os.fsencode(added))
        plain = [f"--{name}" for name in ("binary", "no-ext-diff", "no-textconv", "no-color", "no-renames")]
        plain += ["--src-prefix=a/", "--dst-prefix=b/", "--no-relative"]
        # without lines around it, an edit is applied at another place
        plain += ["--unified=3", "--inter-hunk-context=0"]
        content = _git(folder, "diff", *plain, "HEAD", "--", *SOURCES, index=index)
    return Patch(content, large)


def file_at(revision: str, path: str, folder: Path = Path()) -> bytes:
    """Return a file's content in a commit. Raises GitError if there is no such commit, or no such file in it."""
    return _git(folder, "show", "--end-of-options", f"{revision}:./{path}")


def changing(path: str, folder: Path = Path()) -> list[str]:
    """Return the hashes of the commits that changed a file, newest first; none where there is no git."""
    return (_answer(folder, "log", f"--max-count={COMPARED_COMMITS}", "--format=%H", "--", path) or "").split()


def title(revision: str, folder: Path = Path()) -> str:
    """Return day, short hash and first line of a commit's message. Raises GitError if there is no such revision."""
    line = _git(folder, "show", "--no-patch", "--date=short", "--format=%ad %h %s", "--end-of-options", revision)
    return line.decode(errors="replace").strip()


def export(revision: str, names: Sequence[str], root: Path, folder: Path) -> None:
    """Write files and folders of a commit, by their names, into `folder`. Raises GitError if there is no such revision."""
    commit = _git(root, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").decode().strip()
    content = _git(root, "archive", "--format=tar", commit, "--", *names)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python has it from 3.11.4 on
        archive.extractall(folder)


def clone_at(commit: str, remote: str, root: Path, folder: Path) -> None:
    """Make `folder` a clone of the repository in `root`, at a commit.

    A missing one is fetched from the origin of `root` or from `remote`, an address of `state`. Raises GitError if none has it.
    """
    _git(root, "clone", "--quiet", "--no-checkout", "--", str(root.resolve()), str(folder.resolve()), seconds=None)
    if _answer(folder, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        origin = _answer(root, "remote", "get-url", "origin") or "none"  # with the user and password that it may need
        for source in {origin, remote.replace(MASK, "")} - {"none"}:
            with contextlib.suppress(GitError):
                _git(folder, "fetch", "--quiet", "--", source, commit, seconds=None)
                break
        else:
            raise GitError(
                f"commit {commit}: not found (expected it in this repository, its origin {masked(origin)} or {remote}). Fix: "
                "run `git push` where it was committed, or `git fetch` here",
                "no such commit",
            )
    _git(folder, "checkout", "--quiet", "--detach", commit)


def apply(content: bytes, folder: Path) -> None:
    """Apply a patch to the files of a clone. Raises GitError if it does not fit."""
    _git(folder, "apply", "--whitespace=nowarn", "-", stdin=content)


def _answer(folder: Path, *arguments: str) -> str | None:
    try:
        return os.fsdecode(_git(folder, *arguments)).strip()
    except GitError:
        return None


def _git(
    folder: Path, *arguments: str, index: Path | None = None, stdin: bytes | None = None, seconds: float | None = 60
) -> bytes:
    env = {**os.environ, "LC_ALL": "C", **({"GIT_INDEX_FILE": str(index)} if index else {})}  # errors in English
    try:
        return subprocess.run(
            ["git", *arguments], cwd=folder, env=env, input=stdin, capture_output=True, timeout=seconds, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        reason = os.fsdecode(getattr(error, "stderr", None) or str(error).encode())
        line = (reason.splitlines() or ["no answer"])[0]
        raise GitError(
            f"git {' '.join(arguments)}: failed in {folder.resolve()} (found {line!r}, expected exit code 0). "
            "Fix: run it there",
            line,
        ) from None
