"""doctor: what a bug report needs to know of this installation and project, and what is wrong with them, each with a cure."""

import contextlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from xtcav_ml.config import params_file
from xtcav_ml.config.paths import PARAMS_FILE
from xtcav_ml.learning import rules
from xtcav_ml.lineage import dvc_files, fingerprint, git
from xtcav_ml.lineage.environment import environment
from xtcav_ml.system.errors import UserError, masked, reason
from xtcav_ml.system.progress import console, labelled
from xtcav_ml.tracking.mlflow_names import store_name, store_uri

PYTHON = (3, 11)
ROOM = 4e9  # bytes: a first `make repro` takes most of it
NAMED = 3  # libraries of those that are not the locked ones
HOMES = r"(?<![\w/.-])/(home|Users)/[^/\s'\",;:)]+"
ANSWER_SECONDS = 60.0  # for which a program may think


def examine(root: Path) -> bool:
    """Print the facts and the problems of the project in `root`; return whether there is none."""
    screen, problems = console(), []
    for heading, fact in FACTS.items():
        screen.print(labelled(heading, _private(_answer(fact, root, heading), root), screen.width))
    for subject, check in CHECKS.items():
        try:
            check(root)
        except UserError as error:
            problems.append(str(error))
        except Exception as error:  # whatever it is, the others are told, too
            problems.append(
                f"{subject}: not examined (found {reason(error)!r}, expected an answer). Fix: report this block"
            )
    screen.print(
        f"\n{len(problems)} problems" if len(problems) > 1 else "\n1 problem" if problems else "\nNothing is wrong."
    )
    for line in problems:
        screen.print(f"- {_private(line, root)}")
    return not problems


def _answer(fact: Callable[[Path], str], root: Path, heading: str) -> str:
    try:
        return fact(root)
    except Exception as error:  # one of the checks says it at length
        return f"unknown ({reason(error)})"


def _private(text: str, root: Path) -> str:
    """Return a text without users and passwords in addresses, with paths from the project, or from the home folder as ~."""
    text = re.sub(r"(\w+://[^\s?]*)\?[^\s'\",)]+", r"\1?***", masked(text))
    end = r"(?=[/\s'\",;:)]|$)"
    for folder, name in ((re.escape(str(root.resolve())), "."), (re.escape(str(Path.home())), "~"), (HOMES, "~")):
        text = re.sub(folder + end, name, text)
    return text


def _versions(root: Path) -> str:
    known = environment()
    return ", ".join(f"{name} {version}" for name, version in known.items() if name not in ("platform", "cpu", "cores"))


def _machine(root: Path) -> str:
    from xtcav_ml.tracking import resources

    known, memory = environment(()), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    gpus = resources.gpus().get("gpu", "no GPU")
    return f"{known['platform']}; {known['cpu']}, {known['cores']} cores, {memory / 1e9:.0f} GB; {gpus}"


def _commit(root: Path) -> str:
    state = git.state(root)
    edited = ", edited" if state["dirty"] == "true" else ""
    return f"{state['commit'][:12]} on {state['branch']}{edited}; origin {state['remote']}"


def _store(root: Path) -> str:
    size = sum(path.stat().st_size for path in (root / "mlruns").glob("mlflow.db*"))
    waiting = len(list((root / "mlruns/journal").glob("[!.]*")))
    return f"{store_name(root)}, {size / 1e6:.0f} MB in mlruns; {waiting} runs wait for it"


def _dvc(root: Path) -> str:
    cache = Path(_ask_dvc(root, "cache", "dir").strip())
    files = [path.stat() for path in cache.rglob("*") if path.is_file()] if cache.is_dir() else []
    remotes = ", ".join(_ask_dvc(root, "remote", "list").split()) or "no remote"
    return f"cache {cache} with {len(files):,} files, {sum(one.st_size for one in files) / 1e9:.1f} GB; {remotes}"


def _room(root: Path) -> str:
    usage = shutil.disk_usage(root)
    return f"{usage.free / 1e9:.0f} of {usage.total / 1e9:.0f} GB free"


FACTS: dict[str, Callable[[Path], str]] = {
    "xtcav-ml": lambda root: f"{importlib.metadata.version('xtcav-ml')}, {sys.executable}",
    "versions": _versions,
    "machine": _machine,
    "commit": _commit,
    "store": _store,
    "DVC": _dvc,
    "disk": _room,
}


def _require_python(root: Path) -> None:
    if sys.version_info[:2] != PYTHON:
        found, expected = (".".join(map(str, version)) for version in (sys.version_info[:2], PYTHON))
        raise UserError(
            f"Python: another version (found {found}, expected {expected}). Fix: run `rm -rf .venv`, then "
            f"`make install PYTHON=python{expected}`"
        )


def _require_locked_libraries(root: Path) -> None:
    lock = fingerprint.lock()
    others = []
    for name, version in fingerprint.locked_versions(root / lock).items():
        installed = "none"
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed = importlib.metadata.version(name)
        if installed != version:
            others.append((f"{name} {installed}", version))
    if others:
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        found, expected = (", ".join(column[:NAMED]) for column in zip(*others, strict=True))
        raise UserError(f"{lock}: not installed (found {found}{more}, expected {expected}). Fix: run `make install`")


def _require_own_dvc(root: Path) -> None:
    first, own = shutil.which("dvc"), importlib.metadata.version("dvc")
    version = _run(root, first, "--version").strip() if first else own
    if version != own:
        raise UserError(
            f"PATH: another dvc comes first (found {first}, {version}, expected {own} of .venv/bin). Fix: run "
            '`export PATH="$PWD/.venv/bin:$PATH"`'
        )


def _require_store(root: Path) -> None:
    from xtcav_ml.tracking import sqlite_store

    database = sqlite_store.database_of(store_uri(root))
    if database is not None:
        if not database.exists():
            return  # the first run creates it
        sqlite_store.require_whole(database)
    from xtcav_ml.tracking import mlflow_store

    mlflow_store.connect(root)


def _require_uploaded(root: Path) -> None:
    from xtcav_ml.tracking.journal import folder_of, ownerless

    waiting = 0
    for journal in ownerless(folder_of(root)):
        waiting += 1
        journal.close()
    if waiting:
        raise UserError(
            f"mlruns/journal: runs wait for their upload (found {waiting}, expected 0 without a command at work). Fix: run "
            "`xtcav sync`"
        )


def _require_dvc(root: Path) -> None:
    cache = Path(_ask_dvc(root, "cache", "dir").strip())
    if cache.exists() and not os.access(cache, os.W_OK):
        raise UserError(
            f"{cache}: not writable (found no permission, expected DVC's cache). Fix: ask its owner for permission, or run "
            "`dvc cache dir .dvc/cache --local`"
        )


def _require_commit(root: Path) -> None:
    if problem := git.problem(root):
        raise UserError(problem)


def _require_room(root: Path) -> None:
    if (free := shutil.disk_usage(root).free) < ROOM:
        raise UserError(
            f"disk: little room (found {free / 1e9:.1f} GB, expected {ROOM / 1e9:.0f} GB for a run of all stages). Fix: make "
            "room; `dvc gc --workspace` removes what no result in the workspace needs, also from a cache that others share"
        )


CHECKS: dict[str, Callable[[Path], object]] = {
    "Python": _require_python,
    "libraries": _require_locked_libraries,
    "KERAS_BACKEND": lambda root: rules.require_backend(),
    "PATH": _require_own_dvc,
    "params.yaml": lambda root: params_file.load_params(root / PARAMS_FILE),
    "store": _require_store,
    "mlruns/journal": _require_uploaded,
    "DVC": _require_dvc,
    "dvc.lock": dvc_files.require_whole,
    "git": _require_commit,
    "disk": _require_room,
}


def _ask_dvc(root: Path, *arguments: str) -> str:
    return _run(root, sys.executable, "-m", "dvc", *arguments)


def _run(root: Path, *command: str) -> str:
    """Return what a program prints. Raises UserError with the last line of its error."""
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
        words = " ".join(Path(word).name for word in command)
        raise UserError(
            f"{words}: failed (found {said!r}, expected exit code 0). Fix: correct .dvc/config and .dvc/config.local"
        )
    return done.stdout
