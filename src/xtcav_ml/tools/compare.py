"""compare: predictions of two or more runs on the same test shots -> whether one differs significantly from the first."""

import contextlib
import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from xtcav_ml.config.paths import PREDICTIONS
from xtcav_ml.data import group_files
from xtcav_ml.data.compared_predictions import LEAST_SEEDS, ONE_SEED, Run, compare_predictions, run_of
from xtcav_ml.lineage import git, project, recorded
from xtcav_ml.lineage.environment import CLASS
from xtcav_ml.science.thresholds import INTERVAL
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console, titled_table
from xtcav_ml.tracking import find_runs, mlflow_store
from xtcav_ml.tracking.mlflow_names import LINEAGE

RUN_ID = "[0-9a-f]{32}"


class Source(NamedTuple):
    """What a name stands for."""

    run: Run
    origin: (
        recorded.Recorded | None
    )  # None where no dvc.lock belongs to the predictions: their group of seeds needs one
    processor: str = ""  # its class, where MLflow's run of the training names one


def compare_runs(names: Sequence[str], as_json: bool) -> dict[str, Any]:
    """Print how good the runs `names` are on their common test shots, each compared with the first, and their differences.

    Returns the numbers. Raises UserError if a run does not exist, has no shot in common with the others, or has other labels.
    """
    if len(names) < 2:
        raise UserError(
            f"RUN: too few (found {' '.join(names)!r}, expected at least two). Fix: add another, such as HEAD"
        )
    sources = {name: _source(name) for name in names}
    result = compare_predictions([sources[name].run for name in names])
    origins = {name: source.origin for name, source in sources.items() if source.origin is not None}
    result["parameters"] = recorded.differing_params(origins)
    result["data"], result["code"] = recorded.changed(list(origins.values()))
    result["unknown"] = [name for name in sources if name not in origins]
    result["processors"] = {name: source.processor or None for name, source in sources.items()}
    result["note"] = "" if result["level"] == "settings" else _one_seed([source.run for source in sources.values()])
    if as_json:
        print(json.dumps(result, indent=2, allow_nan=False))
    else:
        _print(result)
    return result


def alike(result: Mapping[str, Any]) -> str:
    """Return what a comparison takes neighbouring shots to have in common."""
    if result["level"] == "settings":
        return "neighbours in a block of time are taken as alike: shots that drift together for longer have wider intervals"
    if result["independent"]:
        return "shots are simulated and thus independent"
    return "intervals allow for any drift from shot to shot that the test shots do not exclude"


def compare_models(names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the comparisons of the models of the runs `names` with that of the first, even if their settings have groups.

    Raises as `compare_runs`.
    """
    return list(compare_predictions([replace(_source(name).run, seeds=()) for name in names])["comparisons"])


def _one_seed(runs: Sequence[Run]) -> str:
    """Return that models alone were compared, and how settings could be."""
    single = ", ".join(_short(run.name) for run in runs if len(run.seeds) < LEAST_SEEDS)
    if not single:
        same = " and ".join(_short(run.name) for run in runs if run is runs[0] or run.same_settings(runs[0]))
        return f"{same} are single models of the same settings: models are compared, not settings"
    return f"{ONE_SEED}: no group of seeds of {single}, which `make seeds` trains"


def _source(name: str) -> Source:
    """Return the predictions of `name` (a file, a folder, an MLflow run, or a commit), and where they come from."""
    paths = (Path(name), Path(name) / PREDICTIONS.name, Path(name) / PREDICTIONS)
    if path := next(filter(Path.is_file, paths), None):
        folder = path.resolve().parents[1]  # the project of results/predictions.csv
        text = path.read_text(encoding="utf-8", errors="replace")
        return _in_project(name, text, folder, lambda file: (folder / file).read_bytes())
    root = project.find_root()
    if not re.fullmatch(RUN_ID, name):
        with contextlib.suppress(git.GitError):
            text = git.file_at(name, str(PREDICTIONS), root).decode(errors="replace")
            return _in_project(name, text, root, lambda file: git.file_at(name, file, root))
    others = f"; or a {PREDICTIONS.name}, a folder that holds one, a git revision with {PREDICTIONS}"
    run = find_runs.find_run(root, name, others)
    with tempfile.TemporaryDirectory() as temporary:
        text = _predictions(root, run.info.run_id, Path(temporary) / "own")
        group = find_runs.group_of(root, run)
        seeds = _predictions(root, group.info.run_id, Path(temporary) / "group") if group else ""
        origin = _of_run(root, run.info.run_id, Path(temporary))
        return Source(_with_origin(name, text, seeds, origin), origin, find_runs.processor_of(root, run))


def _in_project(name: str, text: str, folder: Path, read_file: Callable[[str], bytes]) -> Source:
    """Return a run of the project in `folder`, whose files `read_file` reads by name."""
    origin = recorded.read_locks(read_file)
    group = group_files.read_table(read_file, recorded.evaluated_group(origin, read_file))
    processor = find_runs.processor_of_training(folder, origin.key) if origin else ""
    return Source(_with_origin(name, text, group, origin), origin, processor)


def _with_origin(name: str, text: str, seeds: str, origin: recorded.Recorded | None) -> Run:
    if origin is None:
        return run_of(name, text, seeds)
    return run_of(name, text, seeds, origin.group, independent=origin.simulated)


def _predictions(root: Path, run_id: str, folder: Path) -> str:
    folder.mkdir()
    return mlflow_store.download(root, run_id, PREDICTIONS.name, folder).read_text(encoding="utf-8", errors="replace")


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
    if any(result["processors"].values()):
        screen.print(f"{CLASS}: {_processors(result['processors'])}")
    if result["note"]:
        screen.print(result["note"])
    screen.print(alike(result))
    for entry in result["comparisons"]:
        screen.print(entry["verdict"])


def _processors(classes: Mapping[str, str | None]) -> str:
    """Return each class of processor with the runs that were trained on it."""
    runs: dict[str, list[str]] = {}
    for name, processor in classes.items():
        runs.setdefault(processor or "not recorded", []).append(_short(name))
    return "; ".join(f"{processor} ({', '.join(names)})" for processor, names in runs.items())


def _scores(runs: Sequence[Mapping[str, Any]], shots: int) -> Table:
    """Return the table of the scores of each run on the common shots."""
    numbers = list(runs[0].get("mean_absolute_error", {}))
    classes = ["accuracy", INTERVAL] if "accuracy" in runs[0] else []
    several = runs[0]["seeds"] > 1
    seeds = (["seeds", "s.d. of seeds"] if classes else ["seeds"]) if several else []
    spread = ", s.d. of seeds" if several else ""
    headings = ["run", "test shots", *seeds, *classes, *(f"mean absolute error of {name}{spread}" for name in numbers)]
    table = titled_table(f"{shots:,} test shots in common", headings, {"run"})
    for row in runs:
        cells = [_short(row["run"]), f"{row['shots']:,}"]
        if seeds:
            cells += [str(row["seeds"]), *([f"{row['accuracy_sd']:.1%}"] if classes else [])]
        if classes:
            cells += [f"{row['accuracy']:.1%}", f"{row['accuracy_low']:.1%} to {row['accuracy_high']:.1%}"]
        table.add_row(*cells, *(_error(row, name) for name in numbers))
    return table


def _error(row: Mapping[str, Any], name: str) -> str:
    """Return the mean absolute error of a number, and of several seeds its standard deviation."""
    spread = f", {row['mean_absolute_error_sd'][name]:.2g}" if row["seeds"] > 1 else ""
    return f"{row['mean_absolute_error'][name]:.4g}{spread}"


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
