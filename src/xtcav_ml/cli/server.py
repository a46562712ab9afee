"""xtcav server."""

from pathlib import Path
from typing import Annotated

import typer

from xtcav_ml.system.errors import UserError

GROUP, ORDER = "Tracking", 74


def server(
    folder: Annotated[Path, typer.Option(help="Folder for the database and the artifacts.")] = Path("server"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5000,
    allowed_hosts: Annotated[
        str | None,
        typer.Option(
            envvar="MLFLOW_SERVER_ALLOWED_HOSTS",
            help="Host names with ports that clients use, separated by commas; default: localhost and 127.0.0.1.",
        ),
    ] = None,
) -> None:
    """Serve MLflow to a team: PostgreSQL, users, artifacts."""
    try:
        from xtcav_ml.server import serve as tool
    except ModuleNotFoundError as missing:
        raise UserError(f"{missing.name}: must be installed, got none; `make server` installs what it needs") from None

    names = [name.strip() for name in (allowed_hosts or "").split(",") if name.strip()]
    tool.run(folder, host, port, names)
