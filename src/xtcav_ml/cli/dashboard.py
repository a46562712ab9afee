from typing import Annotated

import typer

GROUP = "Search"
EXAMPLES = ("xtcav dashboard", "xtcav dashboard --port 8090")
KEPT = "the searches stay; the same command shows them again"


def dashboard(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8080,
) -> None:
    """Serve Optuna's dashboard of this project's searches."""
    from xtcav_ml.config.paths import TUNING
    from xtcav_ml.lineage import project
    from xtcav_ml.tuning import dashboard as tool

    tool.serve(project.find_root() / TUNING / "study.db", host, port)
