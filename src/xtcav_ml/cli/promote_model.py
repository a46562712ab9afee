"""xtcav promote-model."""

from typing import Annotated

import typer

GROUP, ORDER = "Models", 41


def promote_model(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="An MLflow run id, the beginning of one, or an alias (candidate)."),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the decision, change nothing.")] = False,
) -> None:
    """Make a run's model the champion if it is not worse.

    Accepted unless the present champion (models:/xtcav@champion) is significantly better (p < 0.05, tests of `xtcav
    compare`) in any quantity, on the test shots of both, which must be at least nine tenths of the champion's. The run must
    be FINISHED, of a clean commit, and its model files unchanged. MLflow keeps the reason with the version. Exit code 1 if
    it is refused.
    """
    from xtcav_ml.tools import promote_model as tool

    tool.run(run, dry_run)
