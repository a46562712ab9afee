"""What this project changes of MLflow's one page: it begins with runs and models, and shows no assistant.

`make ui` and the team's server serve it so.
"""

import json
from pathlib import Path
from typing import Any

FIRST_VISIT = {
    "mlflow.workflowType_v1": '"machine_learning"',  # the pages of runs and models, not those of language models
    "mlflow.telemetry.info.alert.dismissed_v1": "true",  # nothing is sent to anybody
}
"""What a browser that comes for the first time is taken to have chosen in MLflow's pages."""
PAGE = f"""<style>
[data-assistant-ui] {{ display: none !important }}
div:has(> [data-testid="note-view-outer-container"] img) {{ min-height: 34em }}
.note-editor-preview-content :is(td, th) {{ padding: 1px 0.8em }}
.note-editor-preview-content img {{ max-height: 18em }}
.ag-header-cell:is([col-id*="accuracy_"], [col-id*="train."]) {{ padding: 0 4px !important }}
.ag-header-cell:is([col-id*="accuracy_"], [col-id*="train."]) :is([role], :has(> [data-testid]), [data-testid]) {{
  direction: rtl; min-width: 0; overflow: hidden; text-align: left; text-overflow: ellipsis; white-space: nowrap
}}
</style>
<script>
for (const [key, value] of Object.entries({json.dumps(FIRST_VISIT)})) localStorage[key] ??= value
const met = new WeakSet()
new MutationObserver(() => {{
  if (!location.hash.startsWith("#/compare-runs")) return
  for (const one of document.querySelectorAll('[role="switch"][aria-checked="false"]'))
    if (!met.has(one) && one.parentElement.textContent.includes("Show diff only")) {{ met.add(one); one.click() }}
}}).observe(document, {{childList: true, subtree: true}})
</script>"""
"""What MLflow's page gets: no button and panel of its assistant; a description as high as a table and a picture, with room
between the columns; headings of the list of runs that are cut at their beginning, as `train.model.blocks` says less than
`kernel`; tables of runs that are compared begin with what differs."""


def run_page(experiment_id: str, run_id: str) -> str:
    """Return the end of the address of a run's page, which without its last part would be one of language models."""
    return f"#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"


def change_page(app: Any) -> None:
    """Let MLflow's one page, from which its scripts make all others, have PAGE in its head, and the metrics of runs in order.

    The plot of compared runs shows the first metric, by MLflow the one that was logged first, of an epoch.
    """
    before, end, after = Path(app.static_folder, "index.html").read_text(encoding="utf-8").partition("</title>")
    app.view_functions["serve"] = lambda: before + end + PAGE + after
    app.after_request(_sort_metrics)


def _sort_metrics(response: Any) -> Any:
    """Return an answer of MLflow's server with the metrics of the runs in it, if any, by name: `accuracy` is the first."""
    from flask import request

    if request.path.endswith("/mlflow/runs/search") and response.status_code == 200:
        answer = response.get_json()
        for run in answer.get("runs", []):
            run["data"].get("metrics", []).sort(key=lambda metric: metric["key"])
        response.set_data(json.dumps(answer))
    return response
