"""compare: predictions of two or more runs on the same test shots -> whether one differs significantly from the first."""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from xtcav_ml.config.paths import PREDICTIONS
from xtcav_ml.data import predictions
from xtcav_ml.lineage import git, lineage, recorded
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console
from xtcav_ml.tracking import mlflow_store
from xtcav_ml.tracking.mlflow_names import CODE_TAG, KEY_TAG
from xtcav_ml.tracking.provenance import FOLDER

RUN_ID = "[0-9a-f]{32}"


def compare_runs(names: Sequence[str], as_json: bool) -> dict[str, Any]:
    """Print how good the runs `names` are on their common test shots, each compared with the first, and what differs.

    Returns the numbers. Raises UserError if a run does not exist, has no shot in common with the others, or has other labels.
    """
    if len(names) < 2:
        raise UserError(
            f"RUN: too few (found {' '.join(names)!r}, expected at least two). Fix: add another, as HEAD or ."
        )
    sources = {name: _source(name) for name in names}
    found = predictions.compare_predictions([(name, predictions.read_rows(name, sources[name][0])) for name in names])
    known = {name: origin for name, (_, origin) in sources.items() if origin is not None}
    found["parameters"] = recorded.differing({name: origin.params for name, origin in known.items()})
    found["data"], found["code"] = recorded.changed(list(known.values()))
    found["unknown"] = [name for name in sources if name not in known]
    if as_json:
        print(json.dumps(found, indent=2, allow_nan=False))
    else:
        _show(found)
    return found


def _source(name: str) -> tuple[str, recorded.Recorded | None]:
    """Return the table of `name` (a file, a folder, an MLflow run, or a commit), and what it was made from.

    That is None where no dvc.lock belongs to it, as of a table by itself.
    """
    for path in (Path(name), Path(name) / PREDICTIONS.name, Path(name) / PREDICTIONS):
        if path.is_file():
            project = path.resolve().parents[1]  # of results/predictions.csv
            return path.read_text(encoding="utf-8", errors="replace"), recorded.of_folder(project)
    root = lineage.project_root()
    if re.fullmatch(RUN_ID, name):
        with tempfile.TemporaryDirectory() as folder:
            table = mlflow_store.download(root, name, PREDICTIONS.name, Path(folder))
            text = table.read_text(encoding="utf-8", errors="replace")
            return text, _of_run(root, name, Path(folder))
    try:
        text = git.show(name, str(PREDICTIONS), root).decode(errors="replace")
    except git.GitError as error:
        raise UserError(
            f"{name}: no such run (found {error.said!r}, expected a {PREDICTIONS.name}, a folder that holds one, an MLflow run "
            f"id or a git revision with {PREDICTIONS}). Fix: check the name; `xtcav runs` lists MLflow runs."
        ) from None
    return text, recorded.read(lambda file: git.show(name, file, root))


def _of_run(root: Path, run_id: str, folder: Path) -> recorded.Recorded:
    """Return what the tags and artifacts of an MLflow run say, those brought into `folder`."""
    params, tags = mlflow_store.params_and_tags(root, run_id)
    data = {tag.removeprefix("data."): md5 for tag, md5 in tags.items() if tag.startswith("data.")}

    def read(name: str) -> bytes:
        return mlflow_store.download(root, run_id, f"{FOLDER}/{name}", folder).read_bytes()

    code = {"train": lineage.recorded_code("train", tags.get(CODE_TAG, ""), read)}
    return recorded.Recorded(tags.get(KEY_TAG, ""), params, data, code)


def _show(found: dict[str, Any]) -> None:
    screen = console()
    numbers = list(found["runs"][0].get("mean_absolute_error", {}))
    has_classes = "accuracy" in found["runs"][0]
    table = Table(title=f"{found['shots']:,} test shots in common", title_justify="left", title_style="")
    classes = ("accuracy", "95 % interval") if has_classes else ()
    for heading in ("run", "its test shots", *classes, *(f"mean absolute error of {name}" for name in numbers)):
        table.add_column(heading, justify="left" if heading == "run" else "right")
    for row in found["runs"]:
        cells = [_short(row["run"]), f"{row['shots']:,}"]
        if has_classes:
            cells += [f"{row['accuracy']:.1%}", f"{row['accuracy_low']:.1%} to {row['accuracy_high']:.1%}"]
        table.add_row(*cells, *(f"{row['mean_absolute_error'][name]:.4g}" for name in numbers))
    screen.print(table)
    counted = [entry for entry in found["comparisons"] if "right" in entry]
    if counted:
        screen.print(_rights(counted))
    if found["parameters"]:
        screen.print(_parameters(found["parameters"]))
    if len(found["runs"]) - len(found["unknown"]) > 1:
        if not found["parameters"]:
            screen.print("parameters that differ: none")
        screen.print(f"data that differ: {', '.join(found['data']) or 'none'}")
        screen.print(f"code that differs: {', '.join(found['code']) or 'none'}")
    if found["unknown"]:
        screen.print(f"no dvc.lock with {', '.join(found['unknown'])}: parameters, data and code are not compared")
    for entry in found["comparisons"]:
        screen.print(entry["verdict"])


def _short(name: str) -> str:
    """Return a run's name as a table has room for it."""
    return name[:8] if re.fullmatch(RUN_ID, name) else name


def _rights(entries: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of the shots that the first run and each other one are right and wrong on."""
    first = _short(entries[0]["first"])
    columns = {"both": "both right", "only_first": f"only {first}", "only_run": "only the run", "neither": "both wrong"}
    table = Table(title=f"right predictions, compared with {first}", title_justify="left", title_style="")
    for heading in ("run", *columns.values()):
        table.add_column(heading, justify="left" if heading == "run" else "right")
    for entry in entries:
        table.add_row(_short(entry["run"]), *(f"{entry['right'][name]:,}" for name in columns))
    return table


def _parameters(differing: Mapping[str, Mapping[str, str | None]]) -> Table:
    """Return the table of parameters that are not the same in all runs."""
    table = Table(title="parameters that differ", title_justify="left", title_style="")
    runs = list(next(iter(differing.values())))
    for heading in ("parameter", *map(_short, runs)):
        table.add_column(heading, justify="left" if heading == "parameter" else "right")
    for name, values in differing.items():
        table.add_row(name, *("-" if values[run] is None else values[run] for run in runs))
    return table
