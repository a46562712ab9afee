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
between the columns; tables of runs that are compared begin with what differs."""


def run_page(experiment_id: str, run_id: str) -> str:
    """Return the end of the address of a run's page, which without its last part would be one of language models."""
    return f"#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"


def change_page(app: Any) -> None:
    """Let MLflow's one page, from which its scripts make all others, have PAGE in its head."""
    before, end, after = Path(app.static_folder, "index.html").read_text(encoding="utf-8").partition("</title>")
    app.view_functions["serve"] = lambda: before + end + PAGE + after
