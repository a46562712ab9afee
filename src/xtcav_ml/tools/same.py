"""same: whether the present code gives the bytes of a commit's code, on a golden set of few shots -> outputs are kept.

Both run the stages of dvc.yaml, and of the notes' experiments those that the commit's code made, each on its own files, in
temporary folders; a program with one fingerprint in both is run once, and none after the last that differs. Of the programs
that write the same DVC records the present outputs as those of the present code: those that the commit's code made, and that
are out of date by their code alone, since other parameters and data were not tried. Both run with the installed libraries: a
program whose locked libraries have changed, or are not those installed, is left out.
"""

import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from xtcav_ml.config.paths import EXPERIMENTS, LOCK_FILE, LOCK_FILES, PARAMS_FILE, SEEDS
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

LOCKS = {Path(): LOCK_FILES, **{folder: (folder / LOCK_FILE,) for folder in (EXPERIMENTS, SEEDS)}}
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
            for program, path in golden_set.compare(then, now, steps, changed).items():
                if path is not None:
                    screen.print(f"same: no, {program}: {path} differs from that of {revision}")
                    same = False
                elif program in codes:  # else its code has no name that a lock file could have recorded
                    proven.append(program)
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
    if keeping:
        fingerprint.write_codes(root)  # before DVC reads them
    kept = [
        name for folder, locks in LOCKS.items() for lock in locks for name in _take_over(root, folder, lock, keeping)
    ]
    none = f"no stage (none last ran with the code of {revision}; of a change that is committed, name the commit before it)"
    screen.print(
        f"same: taken over for {', '.join(kept) or none}; `make repro`, `make seeds` and `make notes` run what is out of date"
    )
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
        if step.program in codes and step.program in changed and stages[name].code == codes[step.program].fingerprint
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


def _take_over(root: Path, folder: Path, lock: Path, keeping: Mapping[str, str]) -> list[str]:
    """Write fingerprints anew into a lock file of the DVC project in `folder`; returns DVC's names of their stages.

    Those whose outputs are there enter DVC's cache of runs: `dvc repro` finds them there after their outputs were replaced.
    """
    stages = dvc_lock.parse((root / lock).read_bytes(), lock) if (root / lock).is_file() else {}
    inside = lock.parent.relative_to(folder)
    prefix = "" if inside == Path() else f"{inside}/dvc.yaml:"
    if not any(stage.code in keeping for stage in stages.values()):
        return []
    status = json.loads(_dvc(root / folder, "status", "--json"))
    others = {name: _other_changes(status.get(f"{prefix}{name}", [])) for name in stages}

    def untried(name: str) -> bool:
        """Return whether other parameters made a stage's outputs, or what it read: no golden set has repeated that."""
        makers = (maker for maker in stages if stages[maker].outs.keys() & stages[name].deps.keys())
        return any(isinstance(how, dict) for _, how in others[name]) or any(map(untried, makers))

    # what was deleted can be as it is recorded, what has changed is not
    as_recorded = [
        name for name in stages if all(kind == "changed outs" or how == "deleted" for kind, how in others[name])
    ]
    kept = [name for name in as_recorded if stages[name].code in keeping and not untried(name)]
    lines = YAML().load(root / lock)
    for params in (lines["stages"][name]["params"] for name in kept):
        for values in params.values():
            if (code := values.get("fingerprint")) in keeping:
                values["fingerprint"] = keeping[code]
    with atomic.replacing(root / lock) as temporary:
        YAML().dump(lines, temporary)
    if whole := [f"{prefix}{name}" for name in kept if not others[name]]:
        _dvc(root / folder, "commit", "--force", *whole)
    return [f"{prefix}{name}" for name in kept]


def _other_changes(changes: Sequence[Any]) -> list[tuple[str, Any]]:
    """Return what `dvc status` says of a stage but for its code: a kind, and how each file or its parameters changed."""
    kinds = (change if isinstance(change, dict) else {change: {"": change}} for change in changes)
    return [
        (kind, how)
        for each in kinds
        for kind, files in each.items()
        for file, how in files.items()
        if Path(file).parent.name != fingerprint.FOLDER.name
    ]


def _dvc(folder: Path, *arguments: str) -> str:
    finished = run_python(folder, "-m", "dvc", *arguments)
    if finished.returncode:
        last = (finished.stderr.strip().splitlines() or [""])[-1]
        raise UserError(
            f"dvc {arguments[0]}: fails in {folder} (found {last!r}, expected exit code 0). Fix: run it there"
        )
    return finished.stdout
