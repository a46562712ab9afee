"""A few shots and images on which `same` runs two versions of the code, program by program, and compares what they write."""

import filecmp
import itertools
import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from xtcav_ml.config import paths
from xtcav_ml.config.base import merged
from xtcav_ml.config.paths import PARAMS_FILE
from xtcav_ml.config.schema import IMAGE, SCHEMA
from xtcav_ml.notes2016 import experiments, validation
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console
from xtcav_ml.tools.workspace import run_python

SPLIT = {"block": 5, "seed": 98, "gap": 1, "min_per_class": 1}

FEW_SHOTS: dict[str, Any] = {
    "data": {"raw": str(paths.SIMULATED), "frame_shape": list(SCHEMA[IMAGE].row_shape)},
    "simulate": {"dark_shots": 4, "no_lasing_shots": 2, "lasing_shots": [120, 120], "shots_per_file": 60},
    "prepare": {"split": {"train": 0.7, "validation": 0.15, "test": 0.15, **SPLIT}},
    "train": {"epochs": 2},
}
"""Full-size frames and the network of params.yaml, but few shots: enough for every class in every split."""

FEW_OF_AN_EXPERIMENT: dict[str, Any] = {
    "signal": {"train": 8, "validation": 8},
    "simulate": {"no_lasing_shots": 30, "lasing_shots": [120, 120]},
    "prepare": {"split": {"train": 0.6, "validation": 0.2, "test": 0.2, **SPLIT}},
    "train": {"batch_size": 4, "epochs": 1},
}
"""The same of each of the notes' experiments, of its sections: its own images and network."""

MOST_CONFIGURATIONS = 2  # of those that an experiment measures: what it writes of each is known without training

SEVERAL = r"""
import json, os, sys
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["xtcav", *arguments]
    os.write(1, f"\n$ {' '.join(sys.argv)}\n".encode())
    try:
        from xtcav_ml.cli.main import main
        main()
    except SystemExit as end:
        if end.code:
            raise
"""
"""A program that runs several commands, and names each: the libraries are imported once."""


@dataclass(frozen=True)
class Step:
    """A command of `xtcav`, the program that it runs, and what that writes."""

    program: str
    command: tuple[str, ...]
    outputs: tuple[Path, ...]


STAGES = (
    Step("simulate", ("simulate",), (paths.SIMULATED,)),
    Step("check", ("check",), (paths.CHECKED,)),
    Step("prepare", ("prepare",), (paths.PREPARED,)),
    Step("train", ("train",), (paths.MODEL, paths.HISTORY)),
    Step(
        "evaluate",
        ("evaluate",),
        (paths.CURVES, paths.PREDICTIONS, paths.EVALUATION, paths.METRICS, paths.PLOTS),
    ),
)
EXPERIMENT_PROGRAMS = ("notes-data", "notes-validate", "notes-train", "notes-measure")
"""The first writes what the others read, and these read nothing of one another."""


def of_experiment(stage: str) -> Step:
    """Return the step of a stage of experiments/dvc.yaml, as train@peaks-7."""
    kind, _, name = stage.partition("@")
    result = experiments.EXPERIMENTS / "results" / f"{name}.json"
    match kind:
        case "signal" | "shots":
            return Step("notes-data", ("experiment", name, "--data"), (experiments.EXPERIMENTS / "data" / name,))
        case "train" | "long":
            return Step("notes-train", ("experiment", name), (*_trained(name), result))
        case "seeds":
            name, _, seed = name.rpartition("-")
            outputs = (*_trained(name, int(seed)), experiments.result_file(name, int(seed)))
            return Step("notes-train", ("experiment", name, "--seed", seed), outputs)
        case "measure":
            return Step("notes-measure", ("experiment", name), (result,))
        case _:
            return Step("notes-validate", ("experiment", "--check"), (validation.VALID_FILE,))


def _trained(name: str, seed: int | None = None) -> tuple[Path, Path]:
    """Return the outputs of a training in its folder, where its checkpoints are, too: these have the code in their names."""
    folder = experiments.trained_folder(name, seed)
    return folder / "model.keras", folder / "history.jsonl"


def shrink(folder: Path) -> None:
    """Make the data and the trainings of a project's params.yaml and experiments small."""
    _edit(folder / PARAMS_FILE, FEW_SHOTS)
    for path in (folder / experiments.EXPERIMENTS).glob("*.yaml"):
        if path.name != "dvc.yaml":
            _edit(path, FEW_OF_AN_EXPERIMENT)


def _edit(path: Path, few: Mapping[str, Any]) -> None:
    tree = YAML(typ="safe", pure=True).load(path.read_bytes())
    tree = merged(tree, {section: values for section, values in few.items() if section in tree})
    if "configurations" in tree:
        tree["configurations"]["rows"] = tree["configurations"]["rows"][:MOST_CONFIGURATIONS]
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(tree, file)


def compare(then: Path, now: Path, steps: Sequence[Step], changed: Collection[str]) -> dict[str, Path | None]:
    """Run the steps in two projects; return of each program the first file that differs, None if all are the same.

    `changed` names the programs whose code differs: `now` takes the outputs of the others from `then`. No program runs that
    would read a file that differs. Raises UserError if a program fails.
    """
    programs = [(program, list(group)) for program, group in itertools.groupby(steps, attrgetter("program"))]
    last = max((i for i, (program, _) in enumerate(programs) if program in changed), default=-1)
    compared: dict[str, Path | None] = {}
    for program, group in programs[: last + 1]:
        console().print(f"same: {program}")
        commands, outputs = [step.command for step in group], [path for step in group for path in step.outputs]
        run_commands(then, *commands)
        if program in changed:
            run_commands(now, *commands)
        else:
            for name in (file.relative_to(then) for path in outputs for file in _files(then / path)):
                (now / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(then / name, now / name)
        compared[program] = _first_difference(then, now, outputs)
        if compared[program] is not None and program not in EXPERIMENT_PROGRAMS[1:]:
            break
    return compared


def _first_difference(then: Path, now: Path, outputs: Sequence[Path]) -> Path | None:
    for path in outputs:
        names = sorted({file.relative_to(one) for one in (then, now) for file in _files(one / path)})
        for name in names or [path]:
            pair = (then / name, now / name)
            if not (all(file.is_file() for file in pair) and filecmp.cmp(*pair, shallow=False)):
                return name
    return None


def run_commands(folder: Path, *commands: Sequence[str]) -> None:
    """Run commands of the sources in `folder`, with a store of its own. Raises UserError if one fails."""
    finished = run_python(folder, "-c", SEVERAL, json.dumps(commands))
    if finished.returncode:
        command, _, said = finished.stdout.rpartition("\n$ ")[2].partition("\n")
        last = (finished.stderr.strip() or said.strip() or str(finished.returncode)).splitlines()[-1]
        raise UserError(
            f"{command}: fails with the code of {folder.name} on a few simulated shots (found {last!r}, expected "
            f"exit code 0). Fix: run `{command}` on simulated shots"
        )


def _files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path] * path.exists()
