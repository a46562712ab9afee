import sys
from pathlib import Path
from typing import Annotated

import typer

GROUP = "Tracking"
EXAMPLES = ("xtcav reproduce 3f2a  # the first digits of a run's id", "xtcav reproduce 3f2a --into again")
KEPT = "ended stages and finished epochs are kept in the new folder; the same command goes on"


def reproduce(
    run: Annotated[str, typer.Argument(metavar="RUN", help="An MLflow run's id, its first digits or its name.")],
    into: Annotated[
        Path | None, typer.Option(help="New folder for it; default: reproduced/ and the beginning of the id.")
    ] = None,
) -> None:
    """Repeat a run in a new folder and compare its outputs.

    Checks out the run's commit, edits, parameters and data, and runs all stages; only raw data come from DVC's cache. Then
    compares the hashes of all files, the test metrics and the values of each epoch. Exit code 1 if anything differs. Called
    again after an interruption, it goes on.
    This executes code from the run: reproduce only runs of people you trust.
    """
    from xtcav_ml.tools import reproduce as tool

    sys.exit(0 if tool.reproduce_run(run, into) else 1)
