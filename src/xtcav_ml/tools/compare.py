"""compare: predictions of two or more runs on the same test shots -> whether one differs significantly from the first."""

import contextlib
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from xtcav_ml.config.paths import PREDICTIONS
from xtcav_ml.data import predictions
from xtcav_ml.data.compared_predictions import compare_predictions
from xtcav_ml.lineage import git, project, recorded
from xtcav_ml.science.thresholds import INTERVAL
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console, titled_table
from xtcav_ml.tracking import find_runs, mlflow_store
from xtcav_ml.tracking.mlflow_names import LINEAGE

RUN_ID = "[0-9a-f]{32}"


def compare_runs(names: Sequence[str], as_json: bool) -> dict[str, Any]:
    """Print how good the runs `names` are on their common test shots, each compared with the first, and their differences.

    Returns the numbers. Raises UserError if a run does not exist, has no shot in common with the others, or has other labels.
    """
    if len(names) < 2:
        raise UserError(
            f"RUN: too few (found {' '.join(names)!r}, expected at least two). Fix: add another, such as HEAD"
        )
    sources = {name: _source(name) for name in names}
    result = compare_predictions([(name, predictions.read_rows(name, sources[name][0])) for name in names])
    origins = {name: origin for name, (_, origin) in sources.items() if origin is not None}
    result["parameters"] = recorded.differing_params(origins)
    result["data"], result["code"] = recorded.changed(list(origins.values()))
    result["unknown"] = [name for name in sources if name not in origins]
    if as_json:
        print(json.dumps(result, indent=2, allow_nan=False))
    else:
        _print(result)
    return result


def _source(name: str) -> tuple[str, recorded.Recorded | None]:
    """Return the predictions of `name` (a file, a folder, an MLflow run, or a commit), and their origin.

    The origin is None where no dvc.lock belongs to the predictions.
    """
    for path in (Path(name), Path(name) / PREDICTIONS.name, Path(name) / PREDICTIONS):
        if path.is_file():
            origin = recorded.of_folder(path.resolve().parents[1])  # the project of results/predictions.csv
            return path.read_text(encoding="utf-8", errors="replace"), origin
    root = project.find_root()
    if not re.fullmatch(RUN_ID, name):
        with contextlib.suppress(git.GitError):
            text = git.file_at(name, str(PREDICTIONS), root).decode(errors="replace")
            return text, recorded.read_locks(lambda file: git.file_at(name, file, root))
    others = f"; or a {PREDICTIONS.name}, a folder that holds one, a git revision with {PREDICTIONS}"
    run_id = find_runs.find_run(root, name, others).info.run_id
    with tempfile.TemporaryDirectory() as folder:
        table = mlflow_store.download(root, run_id, PREDICTIONS.name, Path(folder))
        return table.read_text(encoding="utf-8", errors="replace"), _of_run(root, run_id, Path(folder))


def _of_run(root: Path, run_id: str, folder: Path) -> recorded.Recorded | None:
    """Return the origin of an MLflow run from the lock and the code that it stored, which are downloaded to `folder`."""
    return recorded.read_locks(
        lambda name: mlflow_store.download(root, run_id, f"{LINEAGE}/{name}", folder).read_bytes()
    )


def _print(result: Mapping[str, Any]) -> None:
    screen = console()
    screen.print(_scores(result["runs"], result["shots"]))
    counted = [entry for entry in result["comparisons"] if "right" in entry]
    if counted:
        screen.print(_rights(counted))
    if result["parameters"]:
        screen.print(_parameters(result["parameters"]))
    if len(result["runs"]) - len(result["unknown"]) > 1:
        if not result["parameters"]:
            screen.print("parameters that differ: none")
        screen.print(f"data that differ: {', '.join(result['data']) or 'none'}")
        screen.print(f"code that differs: {', '.join(result['code']) or 'none'}")
    if result["unknown"]:
        screen.print(f"no dvc.lock with {', '.join(result['unknown'])}: parameters, data and code are not compared")
    for entry in result["comparisons"]:
        screen.print(entry["verdict"])


def _scores(runs: Sequence[Mapping[str, Any]], shots: int) -> Table:
    """Return the table of the scores of each run on the common shots."""
    numbers = list(runs[0].get("mean_absolute_error", {}))
    classes = ["accuracy", INTERVAL] if "accuracy" in runs[0] else []
    headings = ["run", "test shots", *classes, *(f"mean absolute error of {name}" for name in numbers)]
    table = titled_table(f"{shots:,} test shots in common", headings, {"run"})
    for row in runs:
        cells = [_short(row["run"]), f"{row['shots']:,}"]
        if classes:
            cells += [f"{row['accuracy']:.1%}", f"{row['accuracy_low']:.1%} to {row['accuracy_high']:.1%}"]
        table.add_row(*cells, *(f"{row['mean_absolute_error'][name]:.4g}" for name in numbers))
    return table


def _rights(entries: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of the shots that the first run and each other one are right and wrong on."""
    first = _short(entries[0]["first"])
    columns = {
        "both": "both right",
        "only_first": f"only {first}",
        "only_run": "only this run",
        "neither": "both wrong",
    }
    table = titled_table(f"right predictions, compared with {first}", ["run", *columns.values()], {"run"})
    for entry in entries:
        table.add_row(_short(entry["run"]), *(f"{entry['right'][name]:,}" for name in columns))
    return table


def _parameters(differing: Mapping[str, Mapping[str, str | None]]) -> Table:
    """Return the table of parameters that are not the same in all runs."""
    runs = list(next(iter(differing.values())))
    table = titled_table("parameters that differ", ["parameter", *map(_short, runs)], {"parameter"})
    for name, values in differing.items():
        table.add_row(name, *("-" if values[run] is None else values[run] for run in runs))
    return table


def _short(name: str) -> str:
    """Return a run's name at the length that a table has room for."""
    return name[:8] if re.fullmatch(RUN_ID, name) else name
