"""promote: write the best parameters of a search to params.yaml, and keep its comments."""

from pathlib import Path

from xtcav_ml.config.base import flatten, load_section, overridden
from xtcav_ml.config.params_file import write_values
from xtcav_ml.config.train import TrainParams
from xtcav_ml.data import result_files
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console


def promote_best(best_file: Path, params_file: Path) -> None:
    """Write the best trial's parameters, and raise `train.epochs` to the trial's if it is less.

    A longer training goes through the trial's epochs and reaches its score; not with the cosine schedule, whose rate then falls
    more slowly. Raises UserError if there is no best trial, or params.yaml has changed in other places since the search.
    """
    best = result_files.read(best_file, result_files.Best, "run `make tune`")
    train = load_section("train", TrainParams, params_file)
    trial = overridden(train, "train", {"train.epochs": best["epochs"], **best["params"]})
    now, then = flatten({"train": trial.model_dump(mode="json")}), best["train"]
    other = sorted(name for name in {*now, *then} if now.get(name) != then.get(name))
    if other:
        raise UserError(
            f"{params_file}: changed since the search began (found other values of {', '.join(other)}, expected those of the "
            "search). Fix: run `make tune` again"
        )
    changes = {"train.epochs": max(train.epochs, best["epochs"]), **best["params"]}
    before = flatten({"train": train.model_dump()})
    screen = console()
    for dotted, value in changes.items():
        screen.print(f"  {dotted}: {before[dotted]} -> {value}")
    write_values(params_file, changes)
    screen.print(f"promoted trial {best['trial']} of {best['study']} to {params_file}; now run `make repro`")
