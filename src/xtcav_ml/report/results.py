"""Results of the stages: each file as it is there, empty where it is missing."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xtcav_ml.config.base import load_section
from xtcav_ml.config.data import DataParams
from xtcav_ml.config.paths import EVALUATION, HISTORY, PARAMS_FILE, PREDICTIONS
from xtcav_ml.config.prepare import PrepareParams
from xtcav_ml.data import group_files, predictions, raw_files, result_files
from xtcav_ml.data.history import read_history
from xtcav_ml.data.listing import list_files
from xtcav_ml.lineage import recorded
from xtcav_ml.report.current import Run
from xtcav_ml.system.errors import UserError


@dataclass(frozen=True)
class Results:
    """The results of the project in folder `root`."""

    root: Path
    metrics: dict[str, Any]
    table: predictions.Predictions | None
    history: list[dict[str, float]]  # an epoch each
    recorded: recorded.Recorded | None
    run: Run = None

    @property
    def classes(self) -> list[str]:
        """Return the names of the classes, in the order of their numbers; none where only numbers are learned."""
        return self.table.classes() if self.table else []

    @property
    def seeds(self) -> dict[str, Any] | None:
        """Return seeds.json, if that is of the settings and the test set of these results."""
        current = recorded.evaluated_group(self.recorded, lambda name: (self.root / name).read_bytes())
        return group_files.present(self.root, current)

    @functools.cached_property
    def raw(self) -> tuple[raw_files.RawSet, PrepareParams] | None:
        """Return the raw files that params.yaml names, and its section prepare; None if they are not here."""
        try:
            data = load_section("data", DataParams, self.root / PARAMS_FILE)
            prepare = load_section("prepare", PrepareParams, self.root / PARAMS_FILE)
            return raw_files.survey(list_files(self.root / data.raw), data, prepare), prepare
        except UserError:
            return None

    def json(self, path: Path, kind: Any) -> dict[str, Any]:
        """Return the content of a JSON file of this kind, empty if it is missing. Raises UserError if it is damaged."""
        return result_files.read_if_there(self.root / path, kind)


def load_results(root: Path, run: Run = None) -> Results:
    """Return the results of the project in `root`, and their `run`.

    Raises UserError if nothing was evaluated yet, or a file is damaged.
    """
    metrics = result_files.read_metrics(root / EVALUATION)
    table = predictions.read_file(root / PREDICTIONS) if (root / PREDICTIONS).exists() else None
    history = read_history(root / HISTORY) if (root / HISTORY).exists() else []
    return Results(root, metrics, table, history, recorded.of_folder(root), run)
