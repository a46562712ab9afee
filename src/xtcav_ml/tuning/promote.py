"""promote: the best parameters that tune found -> params.yaml, its comments kept."""

import json
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from xtcav_ml.config.base import flatten, load_section, overridden
from xtcav_ml.config.train import TrainParams
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console


def run(best_file: Path, params_file: Path) -> None:
    """Write the winner's parameters, and with them `train.epochs`, so that its score is reached.

    That is raised to the trials' if it is less; with the cosine schedule, whose rates depend on it, it becomes the trials'.
    Raises UserError if there is no winner, or params.yaml has changed in other places since it was found.
    """
    try:
        best = json.loads(best_file.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{best_file}: must hold the best parameters, got {str(error)!r}; run `make tune`") from None
    train = load_section("train", TrainParams, params_file)
    trial = overridden(train, "train", {"train.epochs": best["epochs"], **best["params"]})
    now, then = flatten({"train": trial.model_dump(mode="json")}), best["train"]
    other = sorted(name for name in {*now, *then} if now.get(name) != then.get(name))
    if other:
        raise UserError(
            f"{params_file}: must be as it was when the search began, but for what it searched; got other values of "
            f"{', '.join(other)}; run `make tune` again"
        )
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)  # as the file is shipped
    yaml.width = 4096  # never fold a line that the user wrote
    tree = yaml.load(params_file.read_text())
    cosine = trial.optimizer.schedule == "cosine"
    changes = {"train.epochs": best["epochs"] if cosine else max(train.epochs, best["epochs"]), **best["params"]}
    before = flatten({"train": train.model_dump()})
    screen = console()
    for dotted, value in changes.items():
        *path, last = (int(part) if part.isdigit() else part for part in dotted.split("."))
        place = tree
        for part in path:
            place = place[part]
        screen.print(f"  {dotted}: {before[dotted]} -> {value}")
        if isinstance(place, CommentedMap) and last not in place:  # left out of the file: it has a default
            place.insert(max(len(place) - 1, 0), last, value)  # what follows the last key is the next section's
        else:
            place[last] = value
    with atomic.replacing(params_file) as temporary, temporary.open("w", encoding="utf-8") as file:
        yaml.dump(tree, file)
    screen.print(f"promoted trial {best['trial']} of {best['study']} into {params_file}; now run make repro")
