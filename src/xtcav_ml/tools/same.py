"""same: whether the present code gives the bytes of a commit's code, on a few simulated shots -> outputs are kept.

Both run simulate, check, prepare, train and evaluate, each on its own files, in temporary folders; a stage with one fingerprint
in both is run once, and none after the last that differs. Only if every output is the
same, byte for byte, DVC records the present outputs as those of the present code: those whose data and parameters have not
changed, and that the commit's code made. Otherwise nothing is changed. Both run with the installed libraries: a stage whose
locked libraries have changed, or are not those installed, is left out.
"""

import filecmp
import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from xtcav_ml.config import paths
from xtcav_ml.config.base import merged
from xtcav_ml.config.paths import PARAMS_FILE
from xtcav_ml.config.schema import IMAGE, SCHEMA
from xtcav_ml.lineage import dvc_lock, fingerprint, git, project, recorded
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console
from xtcav_ml.tools.workspace import run_python

FEW_SHOTS: dict[str, Any] = {
    "data": {"raw": str(paths.SIMULATED), "frame_shape": list(SCHEMA[IMAGE].row_shape)},
    "simulate": {"dark_shots": 4, "no_lasing_shots": 2, "lasing_shots": [120, 120], "shots_per_file": 60},
    "prepare": {"split": {"block": 5, "seed": 5, "gap": 1, "min_per_class": 1}},
    "train": {"epochs": 2},
}
"""Full-size frames and the network of params.yaml, but few shots: enough for every class in every split."""

STAGE_OUTPUTS = {
    "simulate": (paths.SIMULATED,),
    "check": (paths.CHECKED,),
    "prepare": (paths.PREPARED,),
    "train": (paths.MODEL, paths.HISTORY),
    "evaluate": (paths.CURVES, paths.PREDICTIONS, paths.EVALUATION, paths.METRICS, paths.PLOTS),
}
PROJECT_FILES = ("src", "dvc.yaml", str(PARAMS_FILE), *map(str, fingerprint.LOCKS.values()))
"""Files and folders of a project that its stages need."""

COMMAND = "from xtcav_ml.cli.main import main; main()"


def take_over_if_same(revision: str) -> bool:
    """Return whether the present code gives the bytes of `revision`'s; if so, DVC keeps the present outputs.

    Raises UserError if there is no such revision, or if a stage fails.
    """
    root, screen = project.find_root(), console()
    with tempfile.TemporaryDirectory() as folder:
        then, now = Path(folder) / "then", Path(folder) / "now"
        git.export(revision, PROJECT_FILES, root, then)
        now.mkdir()
        for name in PROJECT_FILES:
            if (root / name).is_dir():
                shutil.copytree(root / name, now / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(root / name, now / name)
        codes, present = _codes(then), _codes(now)
        changed = [
            stage
            for stage in STAGE_OUTPUTS
            if stage not in codes or codes[stage].fingerprint != present[stage].fingerprint
        ]
        difference = first_difference(then, now, changed)
        if difference is not None:
            screen.print(f"same: no, {difference} differs from that of {revision}; nothing was changed")
            return False
        screen.print(f"same: yes, every output is that of {revision}, byte for byte")
    untested = {stage: _other_libraries(codes[stage], present[stage]) for stage in codes}
    for stage, libraries in untested.items():
        if libraries:
            screen.print(
                f"same: {stage} is not taken over, other versions of its libraries made it: {', '.join(libraries)}"
            )
    stages = [stage for stage in _last_run_with(codes, root) if not untested[stage]]
    fingerprint.write_codes(root)
    kept = _only_code_changed(root, stages)
    if kept:
        _dvc(root, "commit", "--force", *kept)
    none = f"no stage (none last ran with the code of {revision}; of a change that is committed, name the commit before it)"
    screen.print(f"same: taken over for {', '.join(kept) or none}; `dvc repro` runs what is still out of date")
    return True


def first_difference(then: Path, now: Path, changed: Collection[str]) -> str | None:
    """Run the stages in two projects; return the first stage and file that differs, None if all are the same.

    `changed` names the stages whose code differs: `now` takes the outputs of the others from `then`.

    Raises UserError if a stage fails.
    """
    for folder in (then, now):
        params = YAML(typ="safe", pure=True).load((folder / PARAMS_FILE).read_bytes())
        with (folder / PARAMS_FILE).open("w", encoding="utf-8") as file:
            YAML(typ="safe", pure=True).dump(merged(params, FEW_SHOTS), file)
    stages = list(STAGE_OUTPUTS)
    for stage in stages[: max((stages.index(each) + 1 for each in changed), default=0)]:
        console().print(f"same: {stage}")
        outputs = STAGE_OUTPUTS[stage]
        _run_stage(then, stage)
        if stage not in changed:
            for name in (file.relative_to(then) for path in outputs for file in _files(then / path)):
                (now / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(then / name, now / name)
            continue
        _run_stage(now, stage)
        for path in outputs:
            names = sorted({file.relative_to(one) for one in (then, now) for file in _files(one / path)})
            for name in names or [path]:
                pair = (then / name, now / name)
                if not (all(file.is_file() for file in pair) and filecmp.cmp(*pair, shallow=False)):
                    return f"{stage}: {name}"
    return None


def _run_stage(folder: Path, command: str) -> None:
    """Run a command of the sources in `folder`, with a store of its own."""
    finished = run_python(folder, "-c", COMMAND, command)
    if finished.returncode:
        last = (finished.stderr or finished.stdout or str(finished.returncode)).strip().splitlines()[-1]
        raise UserError(
            f"{command}: fails with the code of {folder.name} on a few simulated shots (found {last!r}, expected exit code 0). "
            "Fix: run it on simulated shots"
        )


def _files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path] * path.exists()


def _codes(folder: Path) -> dict[str, fingerprint.Code]:
    """Return the code of each stage in `folder`, as its own command writes it."""
    _run_stage(folder, "fingerprint")
    codes = {stage: fingerprint.read_code(folder / fingerprint.file_of(stage)) for stage in STAGE_OUTPUTS}
    return {stage: code for stage, code in codes.items() if code is not None}


def _other_libraries(then: fingerprint.Code, now: fingerprint.Code) -> list[str]:
    """Return the libraries whose locked versions have changed, or are not those installed, and variables, with all values."""
    installed = {
        name: next((one.version for one in importlib.metadata.distributions(name=name)), os.environ.get(name, "none"))
        for name in now.libraries
    }
    pairs = {name: (then.libraries.get(name, "none"), now.libraries[name], installed[name]) for name in installed}
    return [f"{name} (locked {a}, now {b}, installed {c})" for name, (a, b, c) in pairs.items() if not a == b == c]


def _last_run_with(codes: Mapping[str, fingerprint.Code], root: Path) -> list[str]:
    """Return the stages that last ran with these codes."""
    ran = recorded.read_stages(lambda name: (root / name).read_bytes())
    return [stage for stage, code in codes.items() if ran.get(stage, dvc_lock.Stage()).code == code.fingerprint]


def _only_code_changed(root: Path, stages: Collection[str]) -> list[str]:
    """Return DVC's names of those stages of which nothing but the code has changed."""
    status: dict[str, list[Any]] = json.loads(_dvc(root, "status", "--json"))

    def code_only(stage: str, change: Any) -> bool:
        code = str(fingerprint.file_of(stage))
        return (
            isinstance(change, dict) and change.keys() == {"changed deps"} and {code} == change["changed deps"].keys()
        )

    named = {name: name.rpartition(":")[2] for name in status}
    return [
        name
        for name, stage in named.items()
        if stage in stages and all(code_only(stage, change) for change in status[name])
    ]


def _dvc(root: Path, *arguments: str) -> str:
    finished = run_python(root, "-m", "dvc", *arguments)
    if finished.returncode:
        last = (finished.stderr.strip().splitlines() or [""])[-1]
        raise UserError(
            f"dvc {arguments[0]}: fails in {root} (found {last!r}, expected exit code 0). Fix: run it there"
        )
    return finished.stdout
