from typing import Annotated

import typer

GROUP = "Models"
EXAMPLES = ("xtcav serve models/model.keras", "xtcav serve models:/xtcav@champion --port 8080")
KEPT = "the server has ended; the same command starts it again"


def serve(
    model: Annotated[
        str, typer.Argument(help="A model file (models/model.keras) or a registered model (models:/xtcav@champion).")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5001,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads on a CPU; default: all cores.")] = None,
) -> None:
    """Answer requests over HTTP with a trained model.

    Takes raw frames as JSON, as the model's input_example.json has them. There is no password: it listens to this machine
    alone unless --host names another address.
    """
    import os

    from xtcav_ml.tools import serve as tool
    from xtcav_ml.tracking.registry import versions

    with versions.local(model) as path:
        tool.serve(path, model, host, port, threads or len(os.sched_getaffinity(0)))
