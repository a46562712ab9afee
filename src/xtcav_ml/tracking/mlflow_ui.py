"""`python -m xtcav_ml.tracking.mlflow_ui ui ...` is `mlflow ui ...` with the page of `system.mlflow_page`, and quiet."""

import os
import runpy
import sys
from collections.abc import Mapping
from typing import Any

from xtcav_ml.system import interrupts, streams
from xtcav_ml.system.mlflow_page import change_page

MODULE = "xtcav_ml.tracking.mlflow_ui"
QUIET = ["-W", "ignore"]  # MLflow's own use of what its libraries will remove


def become(*arguments: str) -> None:
    """Run MLflow's command line with `arguments` in the place of this process; does not return."""
    interrupts.block()
    streams.become([sys.executable, *QUIET, "-m", MODULE, *arguments])


def create_app() -> Any:
    """Return what uvicorn serves: MLflow without accounts, for the one user of this machine."""
    from mlflow.server import app
    from mlflow.server.fastapi_app import create_fastapi_app

    change_page(app)
    return create_fastapi_app(app)


def _serve(command: list[str], extra_env: Mapping[str, str], **_: Any) -> None:
    """Become the program that MLflow would start as its child, `python -m uvicorn ...`, which this module then is."""
    os.environ |= extra_env
    become(*command[command.index("-m") + 1 :])


def main() -> None:
    """Run MLflow's command line, whose `ui` then serves `create_app`, as if that were one of MLflow's named apps."""
    interrupts.end_at_once("ui")
    if sys.argv[1] != "ui":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    import mlflow.cli
    import mlflow.server

    run, app = mlflow.server._run_server, f"{MODULE}:create_app"
    mlflow.server._find_app = lambda name: app
    mlflow.server._run_server = lambda **options: run(**{**options, "app_name": app})
    mlflow.server._exec_cmd = _serve
    mlflow.cli.cli()


if __name__ == "__main__":
    main()
