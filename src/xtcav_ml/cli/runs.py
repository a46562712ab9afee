from typing import Annotated

import typer

GROUP, ORDER = "Tracking", 70


def runs(
    revision: Annotated[
        str | None, typer.Argument(metavar="REVISION", help="A git revision; default: the workspace.")
    ] = None,
) -> None:
    """List the MLflow runs of a commit or the workspace.

    Exit code 1 if there is none.
    """
    from xtcav_ml.tools import runs as tool

    tool.run(revision)
