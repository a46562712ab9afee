"""promote: write the best parameters of a search to params.yaml, and keep its comments."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xtcav_ml.config import space
from xtcav_ml.config.base import flatten, load_section
from xtcav_ml.config.params_file import write_values
from xtcav_ml.config.train import TrainParams
from xtcav_ml.data import result_files
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console


def promote_best(best_file: Path, params_file: Path, force: bool = False, number: int | None = None) -> None:
    """Write the best trial's parameters, so that `make repro` reaches its score, and print what changes.

    With them go the numbers of epochs and threads with which it was trained.

    With a `number` those of that trial of the Pareto front. Raises UserError if there is no such trial, params.yaml has changed
    in other places since the search, or the trial is not shown to be better with other seeds, unless `force`.
    """
    best = result_files.read(best_file, result_files.Best, "run `make tune`")
    if number is not None:
        best |= _on_front(best_file, best, number)
    if not best.get("better") and not force:
        said = best.get("verdict") or "no repeats with other seeds"
        raise UserError(
            f"{best_file}: not shown to be better than {params_file} (found {said!r}, expected a gain over seeds that is "
            "significant). Fix: raise tune.seeds and run `make tune` again, or add --force"
        )
    train = load_section("train", TrainParams, params_file)
    then = best["train"]
    found = {"train.epochs": best["epochs"], "train.threads": then["train.threads"], **best["params"]}
    now = flatten({"train": space.applied(train, found).model_dump(mode="json")})
    other = sorted(name for name in {*now, *then} if now.get(name) != then.get(name))
    if other:
        raise UserError(
            f"{params_file}: changed since the search began (found other values of {', '.join(other)}, expected those of the "
            "search). Fix: run `make tune` again"
        )
    before = params_file.read_text()
    write_values(params_file, dict(sorted(found.items())))
    screen = console()
    for line in changed_lines(before, params_file.read_text()):
        screen.print(line, markup=False, highlight=False)
    screen.print(f"promoted trial {best['trial']} of {best['study']} to {params_file}; now run `make repro`")


def _on_front(best_file: Path, best: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return a trial of the front. Raises UserError if it is not on it."""
    front = {one["trial"]: one for one in [best, *best.get("front", [])]}
    if number not in front:
        numbers = ", ".join(map(str, sorted(front)))
        raise UserError(
            f"{best_file}: trial {number} is beaten in all objectives, or was not completed (found the best trials {numbers}, "
            "expected one of these). Fix: give another number, or none for the best accuracy"
        )
    return dict(front[number])


def changed_lines(before: str, after: str) -> list[str]:
    """Return the lines of two texts that differ, each with `-` or `+` before it."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [f"  {line}" for line in lines if not line.startswith(("---", "+++", "@@"))]
