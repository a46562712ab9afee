from typing import Annotated

import typer

GROUP = "Results"
EXAMPLES = (
    "xtcav compare . HEAD~1  # the present results with those of the commit before",
    "xtcav compare 3f2a 9c1b --json  # two runs of `xtcav runs`",
)


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN",
            help="A predictions.csv, a folder that holds one (.), a git revision, or an MLflow run's id, its first digits or "
            "its name.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Compare runs (paired tests).

    Tests whether each run differs significantly from the first on their common test shots.
    """
    from xtcav_ml.tools import compare as tool

    tool.compare_runs(runs, as_json)
