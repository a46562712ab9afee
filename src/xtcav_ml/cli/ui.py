from typing import Annotated

import typer

GROUP = "Tracking"
EXAMPLES = ("xtcav ui", "xtcav ui --port 5050")
KEPT = "the runs stay; the same command shows them again"


def ui(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5000,
) -> None:
    """Serve the MLflow UI of this project's runs."""
    from xtcav_ml.lineage import project
    from xtcav_ml.tracking import mlflow_store

    mlflow_store.serve_ui(project.find_root(), host, port)
