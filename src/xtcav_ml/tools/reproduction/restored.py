"""A run's project as it was, in a folder of its own: commit, edits, params.yaml, raw data; and its stages, run anew."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from xtcav_ml.config.base import PARAMS_FILE, read_tree
from xtcav_ml.config.paths import SIMULATED
from xtcav_ml.lineage import git
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools.reproduction.original import Original

ELSEWHERE = ("MLFLOW_", "DVC_ROOT", "DVC_STAGE", "DVC_EXP_")
"""Begin the variables that would point a stage to another project, or its run to another store."""


def restore(original: Original, root: Path, folder: Path) -> list[str]:
    """Make `folder` the project in `root` as it was for a run; returns what is not quite so.

    DVC's cache and remotes are those of `root`. Raises UserError if commit, edits or data are not to be had.
    """
    git.clone_at(original.tags["git.commit"], original.tags.get("git.remote", "none"), root, folder)
    remarks = []
    if original.patch:
        git.apply(original.patch, folder)
    if "git.diff.left_out" in original.tags:
        remarks.append(f"not in the run, since too large for a source: {original.tags['git.diff.left_out']}")
    params = folder / PARAMS_FILE
    if not params.is_file() or params.read_bytes() != original.params:
        params.write_bytes(original.params)
        remarks.append(f"{PARAMS_FILE} is the run's own, which is not that of its commit and edits")
    _share_cache_and_remotes(root, folder)
    _bring_data(folder)
    return remarks


def run_stages(folder: Path, backend: str) -> int:
    """Run all stages in `folder` on Keras' `backend`, none of them taken from DVC's cache; returns DVC's exit status.

    What they print is seen as it comes. Nothing is added to the cache, and the run is kept in the folder's own store.
    """
    environment = _environment(folder) | {"KERAS_BACKEND": backend}
    _require_own_source(folder, environment)
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--no-commit"]
    with subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:  # DVC waits for its stage, which ends in order: both have to hear of it
            os.killpg(process.pid, signal.SIGINT)
            process.wait()
            raise


def _environment(folder: Path) -> dict[str, str]:
    """Return the variables for commands in `folder`: this Python's programs, but the sources of the folder.

    The `xtcav` that is installed is that of the present project; PYTHONPATH comes before it.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ELSEWHERE)}
    first = {"PATH": str(Path(sys.executable).parent), "PYTHONPATH": str(folder.resolve() / "src")}
    return kept | {name: os.pathsep.join(filter(None, (value, kept.get(name)))) for name, value in first.items()}


def _require_own_source(folder: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", "import xtcav_ml; print(xtcav_ml.__file__)"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if not Path(done.stdout.strip()).is_relative_to(folder.resolve()):
        raise UserError(
            f"{folder}: its stages must run the sources in {folder / 'src'}, got "
            f"{done.stdout.strip() or done.stderr[-200:]!r}; reproduce a run of a commit that has them there"
        )


def _share_cache_and_remotes(root: Path, folder: Path) -> None:
    """Let DVC in `folder` use cache and remotes of the project in `root`, which may have settings that no commit has."""
    listed = _dvc(root, "config", "--list")
    if listed.returncode:
        raise UserError(
            f"{root}: must be a project of DVC, got {listed.stderr.strip()!r}; run it in a clone of the project"
        )
    sections = {"cache": {"dir": str((root / ".dvc" / "cache").resolve())}}
    for line in listed.stdout.splitlines():  # paths in it are absolute
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section.startswith("remote."):
            section = f"'remote \"{section.removeprefix('remote.')}\"'"
        elif section != "cache" and name != "core.remote":
            continue
        sections.setdefault(section, {})[key] = value
    lines = [
        line
        for section, values in sections.items()
        for line in (f"[{section}]", *(f"    {key} = {_quoted(value)}" for key, value in values.items()))
    ]
    file = os.open(folder / ".dvc" / "config.local", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)  # may hold passwords
    with os.fdopen(file, "w") as config:
        config.write("\n".join(lines) + "\n")


def _quoted(value: str) -> str:
    mark = "'" if '"' in value else '"'
    return f"{mark}{value}{mark}"


def _bring_data(folder: Path) -> None:
    """Bring the raw data that are not simulated, from DVC's cache or a remote."""
    raw = Path(read_tree(folder / PARAMS_FILE)["data"]["raw"])
    if raw == SIMULATED or (folder / raw).exists():  # git has brought them, or they lie outside
        return
    if _dvc(folder, "checkout", str(raw)).returncode == 0:
        return
    pulled = _dvc(folder, "pull", str(raw), shown=True)
    if pulled.returncode or not (folder / raw).exists():
        raise UserError(
            f"{raw}: must be in DVC's cache or in a DVC remote, got it from neither; `dvc add` and `dvc push` it where the run "
            "was made, and name the remote here, too (`dvc remote add`)"
        )


def _dvc(folder: Path, *arguments: str, shown: bool = False) -> subprocess.CompletedProcess[str]:
    """Run DVC in `folder`, and keep what it prints, or let it be `shown`."""
    command = [sys.executable, "-m", "dvc", *arguments]
    environment = _environment(folder)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=not shown, text=True, check=False)
