from typing import Annotated

import typer

from xtcav_ml.config.paths import BEST

GROUP = "Search"
EXAMPLES = ("xtcav promote  # after `make tune`", "xtcav promote 17 --force")


def promote(
    trial: Annotated[
        int | None, typer.Argument(help="Number of a trial of the front; default: the best accuracy.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also if it is not shown to be better over seeds.")] = False,
) -> None:
    """Write the best parameters of the search to params.yaml.

    Comments are kept. Run `make repro` afterwards.
    """
    from xtcav_ml.config.paths import PARAMS_FILE
    from xtcav_ml.system.one_writer import writing
    from xtcav_ml.tuning.promote import promote_best

    with writing(PARAMS_FILE):
        promote_best(BEST, PARAMS_FILE, force, trial)
