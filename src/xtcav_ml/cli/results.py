"""Looking at a network and at results, comparing them, making them again."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from xtcav_ml.config.paths import RESULTS


def describe() -> None:
    """Print the network of params.yaml: layers, shapes, parameters, memory and operations."""
    from xtcav_ml.config import params_file
    from xtcav_ml.tools import describe as stage

    stage.run(params_file.load())


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN",
            help="Each a predictions.csv, a folder with one (as . here), a git revision or an MLflow run id.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Say whether runs really differ on the test shots that they have in common; each is compared with the first."""
    from xtcav_ml.tools import compare as stage

    stage.run(runs, as_json)


def summary() -> None:
    """Print what the present results say and where they are."""
    from xtcav_ml.tools import summary as stage

    stage.run(RESULTS)


def report(
    out: Annotated[Path, typer.Option(help="The page, an HTML file.")] = RESULTS / "report.html",
) -> None:
    """Write what the present results say, and where they come from, to one page that needs no network."""
    from xtcav_ml.report import page as stage

    stage.run(Path(), out)


def runs(
    revision: Annotated[
        str | None, typer.Argument(metavar="REVISION", help="A git revision; default: what is checked out.")
    ] = None,
) -> None:
    """List the MLflow runs of the training that a commit, or the workspace, describes; exit code 1 if there is none."""
    from xtcav_ml.tools import runs as stage

    stage.run(revision)


def reproduce(
    run: Annotated[str, typer.Argument(metavar="RUN", help="An MLflow run id, or its beginning.")],
    into: Annotated[
        Path | None, typer.Option(help="A new folder for it; default: reproduced/ and the beginning of the id.")
    ] = None,
) -> None:
    """Repeat a run from its commit, edits, parameters and data in a folder of its own; exit code 1 if anything differs.

    All stages run, nothing is taken from DVC's cache but raw data; hashes of all files, test metrics and the values of each
    epoch are then compared with the run's. It runs the code of the run: reproduce those of people whom you trust.
    """
    from xtcav_ml.tools import reproduce as stage

    sys.exit(0 if stage.run(run, into) else 1)
