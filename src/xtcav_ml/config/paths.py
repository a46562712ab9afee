"""The stages of dvc.yaml in order, and where they and the commands read and write, from the project's folder."""

from pathlib import Path

STAGES = ("simulate", "check", "prepare", "train", "evaluate")
"""Those that compute something; `validate` only looks at params.yaml, `record` only at results."""

SIMULATED = Path("data/raw/simulated")
"""Where the simulated shots are: what `data.raw` names unless the data are somebody's own."""

PREPARED, MODEL, RESULTS = Path("data/prepared"), Path("models/model.keras"), Path("results")
VALIDATED, CHECKED = RESULTS / "params_valid.txt", RESULTS / "data.json"
HISTORY, CURVES = RESULTS / "history.jsonl", RESULTS / "learning_curves.csv"
METRICS, PREDICTIONS, PLOTS = RESULTS / "metrics.json", RESULTS / "predictions.csv", RESULTS / "plots"
REPORT, RESOURCES = RESULTS / "report.html", RESULTS / "resources"
RUN_ADDRESS = RESOURCES / "run.json"
"""Which MLflow run the results in the workspace are of."""

TUNING = RESULTS / "tuning"
BEST = TUNING / "best.json"
"""The best trial of a search."""
