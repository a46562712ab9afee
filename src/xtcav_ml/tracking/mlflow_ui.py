"""`python -m xtcav_ml.tracking.mlflow_ui ui ...` is `mlflow ui ...` with the page of `system.mlflow_page`."""

from typing import Any

from xtcav_ml.system.mlflow_page import change_page


def create_app() -> Any:
    """Return what uvicorn serves: MLflow without accounts, for the one user of this machine."""
    from mlflow.server import app
    from mlflow.server.fastapi_app import create_fastapi_app

    change_page(app)
    return create_fastapi_app(app)


def main() -> None:
    """Run MLflow's command line, whose `ui` then serves `create_app`, as if that were one of MLflow's named apps."""
    import mlflow.cli
    import mlflow.server

    run, app = mlflow.server._run_server, "xtcav_ml.tracking.mlflow_ui:create_app"
    mlflow.server._find_app = lambda name: app
    mlflow.server._run_server = lambda **options: run(**{**options, "app_name": app})
    mlflow.cli.cli()


if __name__ == "__main__":
    main()
