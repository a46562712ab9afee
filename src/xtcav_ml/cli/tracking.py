"""What is in MLflow, and its pages."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from xtcav_ml.system.errors import UserError


def promote_model(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="An MLflow run id, or its beginning, or an alias as candidate."),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
) -> None:
    """Make a run's model the champion (models:/xtcav@champion), if it is not worse; exit code 1 if it is refused.

    Not worse means: on the test shots that both were tested on, at least nine tenths of the champion's, the present champion
    is in nothing that it learned better with p below 0.05, by the tests of `xtcav compare`. The run must be FINISHED and of
    a clean commit, and the files of its model as they were logged. The reason is kept with the version in MLflow.
    """
    from xtcav_ml.tools import promote_model as stage

    stage.run(run, dry_run)


def sync() -> None:
    """Send MLflow what it has not taken yet; exit code 1 if something is left."""
    from xtcav_ml.tools import sync as stage

    sys.exit(0 if stage.run() else 1)


def ui(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5000,
) -> None:
    """Serve the MLflow UI on this project's runs."""
    from xtcav_ml.lineage import lineage
    from xtcav_ml.tracking import mlflow_store

    mlflow_store.serve_ui(lineage.project_root(), host, port)


def server(
    folder: Annotated[Path, typer.Option(help="Folder for the database and the artifacts.")] = Path("server"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5000,
    allowed_hosts: Annotated[
        str | None,
        typer.Option(
            envvar="MLFLOW_SERVER_ALLOWED_HOSTS",
            help="Names with ports, separated by commas, by which clients call it; default: localhost and 127.0.0.1.",
        ),
    ] = None,
) -> None:
    """Serve MLflow to a team: PostgreSQL, users with passwords, artifacts through the server."""
    try:
        from xtcav_ml.server import serve as stage
    except ModuleNotFoundError as missing:
        raise UserError(f"{missing.name}: must be installed, got none; `make server` installs what it needs") from None

    names = [name.strip() for name in (allowed_hosts or "").split(",") if name.strip()]
    stage.run(folder, host, port, names)
