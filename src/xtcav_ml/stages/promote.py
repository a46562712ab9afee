"""promote: the best parameters that tune found -> params.yaml, its comments kept."""

import json
from pathlib import Path

from ruamel.yaml import YAML

from xtcav_ml import atomic
from xtcav_ml.errors import UserError
from xtcav_ml.progress import console


def run(best_file: Path, params_file: Path) -> None:
    """Write the winner's parameters. `train.epochs` is raised to the trials' if it is less, so that its score is reached.

    Raises UserError if there is no winner.
    """
    try:
        best = json.loads(best_file.read_text())
    except OSError as error:
        raise UserError(
            f"{best_file}: must hold the best parameters, got {error.strerror!r}; run `make tune`"
        ) from None
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # never fold a line that the user wrote
    tree = yaml.load(params_file.read_text())
    changes = dict(best["params"])
    if tree["train"]["epochs"] < best["epochs"]:
        changes["train.epochs"] = best["epochs"]
    screen = console()
    for dotted, value in changes.items():
        *path, last = (int(part) if part.isdigit() else part for part in dotted.split("."))
        place = tree
        for part in path:
            place = place[part]
        screen.print(f"  {dotted}: {place[last]} -> {value}")
        place[last] = value
    with atomic.replacing(params_file) as temporary, temporary.open("w", encoding="utf-8") as file:
        yaml.dump(tree, file)
    screen.print(f"promoted trial {best['trial']} of {best['study']} into {params_file}; now run make repro")
