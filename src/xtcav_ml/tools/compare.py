"""compare: predictions of two or more runs on the same test shots -> whether one is really better than the first."""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from xtcav_ml.config.paths import PREDICTIONS
from xtcav_ml.data import predictions
from xtcav_ml.lineage import dvc_lock, git, lineage
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console
from xtcav_ml.tracking import mlflow_store

RUN_ID = "[0-9a-f]{32}"


def run(names: Sequence[str], as_json: bool) -> dict[str, Any]:
    """Print how the runs `names` do on their common test shots, each against the first, and in what they differ.

    Returns the numbers. Raises UserError if a run is not found, has no shot in common with the others, or has other labels.
    """
    if len(names) < 2:
        raise UserError(f"RUN: must be given at least two times, got {' '.join(names)!r}; add another, as HEAD or .")
    sources = {name: _source(name) for name in names}
    found = predictions.compare([(name, predictions.read(name, sources[name][0])) for name in names])
    known = {name: recorded for name, (_, recorded) in sources.items() if recorded is not None}
    found["parameters"] = dvc_lock.differing({name: recorded.params for name, recorded in known.items()})
    found["data"], found["code"] = dvc_lock.changed(list(known.values()))
    found["unknown"] = [name for name in sources if name not in known]
    if as_json:
        print(json.dumps(found, indent=2, allow_nan=False))
    else:
        _show(found)
    return found


def _source(name: str) -> tuple[str, dvc_lock.Recorded | None]:
    """Return the table that `name` means (a file, a folder's, an MLflow run's, or that of a commit), and what it was made from.

    That is None where nobody knows it, as of a table by itself.
    """
    for path in (Path(name), Path(name) / PREDICTIONS.name, Path(name) / PREDICTIONS):
        if path.is_file():
            project = path.resolve().parents[1]  # of results/predictions.csv
            return path.read_text(encoding="utf-8", errors="replace"), dvc_lock.of_folder(project)
    root = lineage.project_root()
    if re.fullmatch(RUN_ID, name):
        with tempfile.TemporaryDirectory() as folder:
            table = mlflow_store.download(root, name, PREDICTIONS.name, Path(folder))
            text = table.read_text(encoding="utf-8", errors="replace")
        return text, _of_run(*mlflow_store.params_and_tags(root, name))
    try:
        text = git.show(name, str(PREDICTIONS), root).decode(errors="replace")
    except git.GitError as error:
        raise UserError(
            f"{name}: no predictions ({error.said}). Fix: name a {PREDICTIONS.name}, a folder that holds one, an MLflow run id "
            f"or a git revision that holds {PREDICTIONS}"
        ) from None
    return text, dvc_lock.read(lambda file: git.show(name, file, root))


def _of_run(params: Mapping[str, str], tags: Mapping[str, str]) -> dvc_lock.Recorded:
    data, code = (
        {tag.removeprefix(kind): md5 for tag, md5 in tags.items() if tag.startswith(kind)}
        for kind in ("data.", "code.")
    )
    return dvc_lock.Recorded(tags.get("lineage.key", ""), dict(params), data, code)


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
        screen.print(f"code that differs: {', '.join(map(_module, found['code'])) or 'none'}")
    if found["unknown"]:
        screen.print(f"what {', '.join(found['unknown'])} was made from is not known: no dvc.lock belongs to it")
    for entry in found["comparisons"]:
        screen.print(entry["verdict"])


def _short(name: str) -> str:
    """Return a run's name as a table has room for it."""
    return name[:8] if re.fullmatch(RUN_ID, name) else name


def _module(path: str) -> str:
    return path.removeprefix("src/xtcav_ml/")


def _rights(entries: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of the shots that the first run and each other one are right and wrong on."""
    first = _short(entries[0]["first"])
    table = Table(title=f"right answers, beside those of {first}", title_justify="left", title_style="")
    for heading in ("run", "both right", f"only {first}", "only the run", "both wrong"):
        table.add_column(heading, justify="left" if heading == "run" else "right")
    for entry in entries:
        table.add_row(_short(entry["run"]), *(f"{count:,}" for count in entry["right"].values()))
    return table


def _parameters(differing: Mapping[str, Mapping[str, str | None]]) -> Table:
    """Return the table of parameters that are not the same in all runs."""
    table = Table(title="parameters that differ", title_justify="left", title_style="")
    for heading in ("parameter", *map(_short, next(iter(differing.values())))):
        table.add_column(heading, justify="left" if heading == "parameter" else "right")
    for name, values in differing.items():
        table.add_row(name, *("-" if value is None else value for value in values.values()))
    return table
