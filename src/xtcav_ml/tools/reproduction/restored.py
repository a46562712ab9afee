"""A run's project, restored in a folder of its own (commit, edits, params.yaml, raw data), and its stages, run again."""

import configparser
import contextlib
import json
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

from xtcav_ml.config.base import read_tree
from xtcav_ml.config.paths import LOCK_FILES, PARAMS_FILE, SIMULATED, STAGES
from xtcav_ml.lineage import dvc_lock, git
from xtcav_ml.system import atomic, variables
from xtcav_ml.system.errors import DAMAGES, UserError, reading
from xtcav_ml.system.one_writer import locked
from xtcav_ml.system.parent_process import killed_with_parent
from xtcav_ml.system.progress import console
from xtcav_ml.tools.reproduction.original import Original
from xtcav_ml.tools.workspace import environment_of, run_python, shown_python

AGAIN = "remove {}, then run the command again"
MARK = Path(".git") / "xtcav-run.json"  # names the run that a folder was made for; the lock on the folder


def restore(original: Original, root: Path, folder: Path) -> None:
    """Clone the project in `root` into `folder` as it was for a run, whole or not at all.

    DVC's cache and remotes are those of `root`. The stages' records are left out, so that DVC runs each stage once here,
    however often it is interrupted. Raises UserError if commit, edits or data are missing.
    """
    with atomic.replacing(folder) as clone:
        git.clone_at(original.tags["git.commit"], original.tags.get("git.remote", "none"), root, clone)
        remarks = []
        if original.patch:
            git.apply(original.patch, clone)
        if "git.diff.left_out" in original.tags:
            remarks.append(f"not in the run, since too large for a source: {original.tags['git.diff.left_out']}")
        params = clone / PARAMS_FILE
        if not params.is_file() or params.read_bytes() != original.params:
            params.write_bytes(original.params)
            remarks.append(f"{PARAMS_FILE} is the run's own, which is not that of its commit and edits")
        _share_cache_and_remotes(root, clone)
        _fetch_data(clone)
        for lock in LOCK_FILES:
            (clone / lock).unlink(missing_ok=True)
        (clone / MARK).write_text(json.dumps({"run": original.run_id, "remarks": remarks}))
        _require_new(folder)  # another process may have been faster


@contextlib.contextmanager
def taken(original: Original, folder: Path) -> Iterator[tuple[int, list[str]]]:
    """Hold the folder that `restore` made for a run; yield the lock's descriptor, and remarks on differences.

    Processes that inherit the descriptor hold the folder too: it is waited for until the last one has ended. Raises UserError
    if the folder is another one.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context((folder / MARK).open("rb"))
            mark = json.load(file)
        except (OSError, *DAMAGES):
            mark = {}
        if not isinstance(mark, dict) or mark.get("run") != original.run_id:
            _require_new(folder)
        if not locked(file, wait=False):
            console().print(f"  waits for the processes that work in {folder}")
            locked(file)
        yield file.fileno(), mark.get("remarks", [])


def _require_new(folder: Path) -> None:
    if folder.exists():
        raise UserError(
            f"{folder}: exists already (found a folder that is not this run's, expected a new path). Fix: remove it, or name "
            "another with --into"
        )


def run_stages(folder: Path, settings: Mapping[str, str], lock: int) -> int:
    """Run all stages that have not run in `folder`, none of them taken from DVC's cache; returns DVC's exit status.

    `settings` are the run's KERAS_BACKEND and variables that count; those of this process do not. DVC inherits `lock`.
    Their output is shown. Nothing is added to the cache, and the run is logged to the folder's own store.
    """
    _require_own_source(folder)
    if (first := _first_left(folder)) is None:
        return 0
    command = ["-m", "dvc", "repro", "--force", "--no-commit", *first]
    kept = {name: value for name, value in environment_of(folder).items() if not variables.counts(name)}
    environment = {**kept, **settings}
    with shown_python(folder, *command, env=environment, start_new_session=True, pass_fds=[lock]) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:  # DVC waits for its stage, which ends in order: both need the signal
            os.killpg(process.pid, signal.SIGINT)
            process.wait()
            raise


def _first_left(folder: Path) -> list[str] | None:
    """Return DVC's arguments for the stages that have not ended yet; None if all have.

    DVC itself would run each one again whose outputs are not in its cache.
    """
    locks = [folder / name for name in LOCK_FILES]
    done = {name for lock in locks if lock.is_file() for name in dvc_lock.parse(lock.read_bytes(), lock, AGAIN)}
    definitions = folder / "dvc.yaml"
    with reading(definitions, "stages", f"remove {folder}, then run the command again"):
        stages = (*STAGES, *({"record"} & read_tree(definitions)["stages"].keys()))  # projects had none once
    left = stages[1 + max((number for number, name in enumerate(stages) if name in done), default=-1) :]
    if not left:
        return None
    return [] if left == stages else ["--downstream", left[0]]


def _require_own_source(folder: Path) -> None:
    source, printed = folder / "src", run_python(folder, "-c", "import xtcav_ml; print(xtcav_ml.__file__)")
    if not Path(printed.stdout.strip()).is_relative_to(folder.resolve()):
        imported = printed.stdout.strip() or printed.stderr[-200:]
        raise UserError(
            f"{folder}: stages would not run its sources (found {imported!r}, expected {source}). Fix: reproduce a run of a "
            "commit that has them there"
        )


def _share_cache_and_remotes(root: Path, folder: Path) -> None:
    """Let DVC in `folder` use cache and remotes of the project in `root`, which may have settings that no commit has.

    Paths within the project are relative to the file with the settings, if `folder` is in it too: both move together.
    """
    settings = run_python(root, "-m", "dvc", "config", "--list")
    if settings.returncode:
        raise UserError(
            f"{root}: not a project of DVC (found {settings.stderr.strip()!r}, expected DVC's settings). Fix: run in a clone "
            "of the project"
        )
    top, here = str(root.resolve()), (folder / ".dvc").resolve()

    def written(value: str) -> str:
        within = here.is_relative_to(top) and value.startswith(f"{top}/")
        return os.path.relpath(value, here) if within else value

    sections = {"cache": {"dir": written(f"{top}/.dvc/cache")}}
    for line in settings.stdout.splitlines():  # paths in it are absolute
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section.startswith("remote."):
            section = f"'remote \"{section.removeprefix('remote.')}\"'"
        elif section != "cache" and name != "core.remote":
            continue
        mark = "'" if '"' in value else '"'
        sections.setdefault(section, {})[key] = f"{mark}{written(value)}{mark}"
    config = configparser.ConfigParser(interpolation=None)
    config.read_dict(sections)
    descriptor = os.open(folder / ".dvc" / "config.local", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:  # may hold passwords
        config.write(file)


def _fetch_data(folder: Path) -> None:
    """Fetch the raw data that are not simulated, from DVC's cache or a remote."""
    raw = Path(read_tree(folder / PARAMS_FILE)["data"]["raw"])
    if raw == SIMULATED or (folder / raw).exists():  # in git, or outside the project
        return
    if run_python(folder, "-m", "dvc", "checkout", str(raw)).returncode == 0:
        return
    with shown_python(
        folder, "-m", "dvc", "pull", str(raw), env=environment_of(folder), preexec_fn=killed_with_parent()
    ) as pull:
        pull.wait()
    if pull.returncode or not (folder / raw).exists():
        raise UserError(
            f"{raw}: data are missing (found in neither DVC's cache nor a remote, expected in one of them). Fix: run `dvc add` "
            "and `dvc push` where the run was made, and name the remote here with `dvc remote add`"
        )
