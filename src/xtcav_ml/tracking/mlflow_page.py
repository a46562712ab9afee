"""MLflow's server with its one page changed a little: it begins with runs and models, and shows no assistant.

`python -m xtcav_ml.tracking.mlflow_page ui ...` is `mlflow ui ...` with it. The team's server changes
its page by the same function, and has nothing else of this package's tracking: this module imports only MLflow.
"""

import json
from pathlib import Path
from typing import Any

FIRST_VISIT = {
    "mlflow.workflowType_v1": '"machine_learning"',  # the pages of runs and models, not those of language models
    "mlflow.telemetry.info.alert.dismissed_v1": "true",  # nothing is sent to anybody
}
"""What a browser that comes for the first time is taken to have chosen in MLflow's pages."""
PAGE = f"""<style>[data-assistant-ui] {{ display: none !important }}</style>
<script>for (const [key, value] of Object.entries({json.dumps(FIRST_VISIT)})) localStorage[key] ??= value</script>"""
"""What MLflow's page gets: the button and the panel of its assistant are not shown."""


def change_page(app: Any) -> None:
    """Let MLflow's one page, from which its scripts make all others, have PAGE in its head."""
    before, end, after = Path(app.static_folder, "index.html").read_text(encoding="utf-8").partition("</title>")
    app.view_functions["serve"] = lambda: before + end + PAGE + after


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

    run, app = mlflow.server._run_server, "xtcav_ml.tracking.mlflow_page:create_app"
    mlflow.server._find_app = lambda name: app
    mlflow.server._run_server = lambda **options: run(**{**options, "app_name": app})
    mlflow.cli.cli()


if __name__ == "__main__":
    main()
