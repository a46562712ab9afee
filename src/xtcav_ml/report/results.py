"""What stages have left in `results`: each part as it is there, empty where it is not."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xtcav_ml.data import predictions
from xtcav_ml.lineage import recorded
from xtcav_ml.system.errors import UserError

METRICS, TABLE = Path("results/metrics.json"), Path("results/predictions.csv")


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

    def json(self, name: str) -> dict[str, Any]:
        """Return what `name` in `results` holds; nothing if it is not there. Raises UserError if it is no JSON."""
        return read_json(self.root / "results" / name)


def load(root: Path) -> Results:
    """Return the results of the project in `root`. Raises UserError if nothing was evaluated yet, or a file is damaged."""
    metrics = read_json(root / METRICS)
    if not metrics:
        raise UserError(f"{METRICS}: not found; evaluate writes it. Fix: run `make repro`")
    table = root / TABLE
    history = root / "results" / "history.jsonl"
    try:
        rows = (
            [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()] if history.is_file() else []
        )
    except ValueError as error:
        raise _damaged(history, error) from None
    return Results(
        root=root,
        metrics=metrics,
        table=predictions.read_predictions(str(TABLE), table.read_text(encoding="utf-8")) if table.is_file() else None,
        history=rows,
        recorded=recorded.of_folder(root),
    )


def read_json(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds; nothing if it is not there. Raises UserError if it is no JSON."""
    if not path.is_file():
        return {}
    try:
        tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(path, error) from None
    return tree


def _damaged(path: Path, error: ValueError) -> UserError:
    return UserError(f"{path}: invalid JSON (found {str(error)!r}). Fix: remove the file and run `make repro`")
