"""`python -m server`: start the team's MLflow server from the command line."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from xtcav_ml.system import interrupts
from xtcav_ml.system.errors import UserError, as_user_error


def start(
    folder: Annotated[Path, typer.Option(help="Folder for the database and the artifacts.")] = Path("server/state"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5000,
    allowed_hosts: Annotated[
        str,
        typer.Option(
            envvar="MLFLOW_SERVER_ALLOWED_HOSTS",
            help="Names with ports, separated by commas, that clients may use.  [default: localhost and 127.0.0.1]",
            show_default=False,
        ),
    ] = "",
) -> None:
    """Serve MLflow to a team: PostgreSQL, accounts with passwords, artifacts through the server."""
    try:
        from server import serve

        serve.run(folder, host, port, [name.strip() for name in allowed_hosts.split(",") if name.strip()])
    except KeyboardInterrupt:
        print(f"server: stopped; database and artifacts stay in {folder}", file=sys.stderr)
        raise
    except ModuleNotFoundError as missing:
        raise UserError(
            f"{missing.name}: not installed (expected the server's libraries). Fix: run `make server`"
        ) from None


def main() -> None:
    """Start the server; a user's mistake is one line and exit code 1. SIGTERM is taken as Ctrl-C."""
    interrupts.listen()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(start)
    try:
        app(prog_name="python -m server")
    except (UserError, OSError) as error:
        sys.exit(f"server: {as_user_error(error)}")


if __name__ == "__main__":
    main()
