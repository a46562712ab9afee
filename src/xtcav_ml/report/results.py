"""Results of the stages: each file as it is there, empty where it is missing."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xtcav_ml.config.paths import HISTORY, METRICS, PREDICTIONS
from xtcav_ml.data import predictions
from xtcav_ml.data.history import read_history
from xtcav_ml.lineage import recorded
from xtcav_ml.system.errors import UserError


@dataclass(frozen=True)
class Results:
    """The results of the project in folder `root`."""

    root: Path
    metrics: dict[str, Any]
    table: predictions.Predictions | None
    history: list[dict[str, float]]  # an epoch each
    recorded: recorded.Recorded | None

    @property
    def classes(self) -> list[str]:
        """Return the names of the classes, in the order of their numbers; none where only numbers are learned."""
        return self.table.classes() if self.table else []

    def json(self, path: Path) -> dict[str, Any]:
        """Return the content of a JSON file, empty if it is missing. Raises UserError if it is damaged."""
        return _json(self.root / path)


def load_results(root: Path) -> Results:
    """Return the results of the project in `root`. Raises UserError if nothing was evaluated yet, or a file is damaged."""
    metrics = _json(root / METRICS)
    if not metrics:
        raise UserError(f"{METRICS}: missing (expected an output of evaluate). Fix: run `make repro`")
    text = (root / PREDICTIONS).read_text(encoding="utf-8") if (root / PREDICTIONS).is_file() else ""
    table = predictions.read_predictions(str(PREDICTIONS), text) if text else None
    history = read_history(root / HISTORY) if (root / HISTORY).is_file() else []
    return Results(root, metrics, table, history, recorded.of_folder(root))


def _json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file, empty if it is missing. Raises UserError if it is damaged."""
    if not path.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"{path}: invalid JSON (found {str(error)!r}, expected JSON). Fix: remove it, then run `make repro`"
        ) from None
    return content
