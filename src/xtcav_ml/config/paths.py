"""Where the stages of dvc.yaml read and write."""

from pathlib import Path

PREPARED, RESULTS = Path("data/prepared"), Path("results")
MODEL, HISTORY, CHECKED = Path("models/model.keras"), RESULTS / "history.jsonl", RESULTS / "data.json"
VALIDATED = RESULTS / "params_valid.txt"
TUNING = RESULTS / "tuning"
