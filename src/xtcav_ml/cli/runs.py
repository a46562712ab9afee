from typing import Annotated

import typer

GROUP = "Tracking"
EXAMPLES = ("xtcav runs", "xtcav runs . --limit 5  # of the workspace's state", "xtcav runs --json")


def runs(
    revision: Annotated[
        str | None,
        typer.Argument(metavar="REVISION", help="Only those of a git revision, or of the workspace (.); default: all."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=50_000, help="The most to list.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the runs, newest first.

    Each with its accuracy and what differs from params.yaml. A revision's runs are those of its parameters, data and code.
    Exit code 1 if there is none.
    """
    from xtcav_ml.tools import list_runs as tool

    tool.list_runs(revision, limit, as_json)
