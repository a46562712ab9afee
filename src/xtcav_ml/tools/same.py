"""same: whether the present code gives the bytes of a commit's code, on a golden set of few shots -> outputs are kept.

Both run the stages of dvc.yaml, and of the notes' experiments those that the commit's code made, each on its own files, in
temporary folders; a program with one fingerprint in both is run once, and none after the last that differs. Of the programs
before the first file that differs DVC records the present outputs as those of the present code: those that the commit's code
made. Parameters and data stay as they were recorded, so that DVC still sees what else has changed. Both run with the installed
libraries: a program whose locked libraries have changed, or are not those installed, is left out.
"""

import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from xtcav_ml.config.paths import EXPERIMENTS, LOCK_FILE, LOCK_FILES, PARAMS_FILE
from xtcav_ml.lineage import dvc_lock, fingerprint, git, project
from xtcav_ml.lineage.fingerprint import Code
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console
from xtcav_ml.tools import golden_set
from xtcav_ml.tools.golden_set import Step
from xtcav_ml.tools.workspace import run_python

NOT_COPIED = {"src": ["__pycache__"], str(EXPERIMENTS): [".dvc", "data", "trained", "results"]}
"""Folders of a project that its programs need, and what of them they do not."""

PROJECT_FILES = (*NOT_COPIED, "dvc.yaml", str(PARAMS_FILE), *map(str, fingerprint.LOCKS.values()))
"""All that a project's programs need."""

LOCKS = {Path(): LOCK_FILES, EXPERIMENTS: (EXPERIMENTS / LOCK_FILE,)}
"""The lock files of each DVC project, by its folder."""


def take_over_if_same(revision: str) -> bool:
    """Return whether the present code gives the bytes of `revision`'s; where it does, DVC keeps the present outputs.

    Raises UserError if there is no such revision, or if a program fails.
    """
    root, screen, proven, same = project.find_root(), console(), list[str](), True
    with tempfile.TemporaryDirectory() as folder:
        then, now = Path(folder) / "then", Path(folder) / "now"
        git.export(revision, PROJECT_FILES, root, then)
        _copy(root, now)
        codes, present = _codes(then), _codes(now)
        changed = [
            name for name in present if name not in codes or codes[name].fingerprint != present[name].fingerprint
        ]
        for steps in (golden_set.STAGES, _experiments(root, codes, changed)):
            programs = list(dict.fromkeys(step.program for step in steps))
            if difference := golden_set.first_difference(then, now, steps, changed):
                program, path = difference
                screen.print(f"same: no, {program}: {path} differs from that of {revision}")
                programs, same = programs[: programs.index(program)], False
            proven += programs
    if same:
        screen.print(f"same: yes, every output is that of {revision}, byte for byte")
    keeping = {}
    for name in proven:
        if libraries := _other_libraries(codes[name], present[name]):
            screen.print(
                f"same: {name} is not taken over, other versions of its libraries made it: {', '.join(libraries)}"
            )
        elif name in changed:
            keeping[codes[name].fingerprint] = present[name].fingerprint
    kept = [name for folder in LOCKS for name in _take_over(root, folder, keeping)]
    if kept:
        fingerprint.write_codes(root)
    none = f"no stage (none last ran with the code of {revision}; of a change that is committed, name the commit before it)"
    screen.print(f"same: taken over for {', '.join(kept) or none}; `dvc repro` runs what is still out of date")
    return same


def _copy(root: Path, now: Path) -> None:
    now.mkdir()
    for name in PROJECT_FILES:
        if name in NOT_COPIED:
            shutil.copytree(root / name, now / name, ignore=shutil.ignore_patterns(*NOT_COPIED[name]))
        else:
            shutil.copy2(root / name, now / name)


def _codes(folder: Path) -> dict[str, Code]:
    """Return the code of each program in `folder`, as its own command writes it, and make its data small."""
    golden_set.run_commands(folder, ("fingerprint",))
    golden_set.shrink(folder)
    codes = {name: fingerprint.read_code(folder / fingerprint.file_of(name)) for name in fingerprint.PROGRAMS}
    return {name: code for name, code in codes.items() if code is not None}


def _experiments(root: Path, codes: Mapping[str, Code], changed: Sequence[str]) -> list[Step]:
    """Return the steps of the experiments that can be taken over, and those of the data that they learn from."""
    lock = root / EXPERIMENTS / LOCK_FILE
    stages = dvc_lock.parse(lock.read_bytes(), lock) if lock.is_file() else {}
    made = {name: golden_set.of_experiment(name) for name in stages}
    kept = [
        step
        for name, step in made.items()
        if step.program in changed and stages[name].code == codes[step.program].fingerprint
    ]
    data = [step for step in made.values() if step.program == "notes-data"] if kept else []
    return sorted({*kept, *data}, key=lambda step: (golden_set.EXPERIMENT_PROGRAMS.index(step.program), step.command))


def _other_libraries(then: Code, now: Code) -> list[str]:
    """Return the libraries whose locked versions have changed, or are not those installed, and variables, with all values."""
    installed = {
        name: next((one.version for one in importlib.metadata.distributions(name=name)), os.environ.get(name, "none"))
        for name in now.libraries
    }
    pairs = {name: (then.libraries.get(name, "none"), now.libraries[name], installed[name]) for name in installed}
    return [f"{name} (locked {a}, now {b}, installed {c})" for name, (a, b, c) in pairs.items() if not a == b == c]


def _take_over(root: Path, folder: Path, keeping: Mapping[str, str]) -> list[str]:
    """Write fingerprints anew into the lock files of the DVC project in `folder`; returns DVC's names of their stages.

    Those that are then up to date enter DVC's cache of runs: `dvc repro` finds them there after their outputs were replaced.
    """
    kept = []
    for lock in (name for name in LOCKS[folder] if (root / name).is_file()):
        text, inside = (root / lock).read_text(encoding="utf-8"), lock.parent.relative_to(folder)
        prefix = "" if inside == Path() else f"{inside}/dvc.yaml:"
        names = [f"{prefix}{name}" for name, stage in dvc_lock.parse(text, lock).items() if stage.code in keeping]
        if names:
            for old, new in keeping.items():
                text = text.replace(old, new)
            with atomic.replacing(root / lock) as temporary:
                temporary.write_text(text, encoding="utf-8")
        kept += names
    if kept:
        outdated = json.loads(_dvc(root / folder, "status", "--json"))
        if whole := [name for name in kept if name not in outdated]:
            _dvc(root / folder, "commit", "--force", *whole)
    return kept


def _dvc(folder: Path, *arguments: str) -> str:
    finished = run_python(folder, "-m", "dvc", *arguments)
    if finished.returncode:
        last = (finished.stderr.strip().splitlines() or [""])[-1]
        raise UserError(
            f"dvc {arguments[0]}: fails in {folder} (found {last!r}, expected exit code 0). Fix: run it there"
        )
    return finished.stdout
