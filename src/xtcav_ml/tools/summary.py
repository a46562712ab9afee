"""summary: the results in the workspace in a few lines, for the end of `make repro`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from xtcav_ml.config.paths import METRICS, PLOTS, PREDICTIONS, REPORT, RESOURCES, RUN_ADDRESS, STAGES
from xtcav_ml.data import predictions
from xtcav_ml.science.thresholds import INTERVAL
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console, titled_table


def print_summary(root: Path) -> None:
    """Print accuracy with its interval, confusion matrix, time, memory and paths of the project in `root`.

    Raises UserError if there are no results yet.
    """
    try:
        metrics = json.loads((root / METRICS).read_text())
    except OSError as error:
        raise UserError(
            f"{METRICS}: cannot be read (found {error.strerror!r}, expected results). Fix: run `make repro`"
        ) from None
    screen = console()
    if "accuracy" in metrics:
        screen.print(
            f"\nTest accuracy {metrics['accuracy']:.1%} ({INTERVAL} {metrics['accuracy_low']:.1%} to "
            f"{metrics['accuracy_high']:.1%}) on {metrics['shots']} shots; majority-class "
            f"baseline: {metrics['largest_class']:.1%}, {metrics['z_score']:.1f} standard deviations lower (paired test)."
        )
        if "ceiling" in metrics:
            screen.print(
                f"Label noise limits accuracy to {metrics['ceiling']:.1%} ({metrics['ceiling_low']:.1%} to "
                f"{metrics['ceiling_high']:.1%}): that share of the labels is what noise-free waveforms would give."
            )
        screen.print(_confusion(metrics, root / PREDICTIONS))
    for name, errors in metrics.get("regression", {}).items():
        if errors["shots"]:
            screen.print(
                f"{name}: r.m.s. error {errors['rms_error']:.3g} on {errors['shots']} test shots; {errors['spread']:.3g} for "
                "a constant prediction, the mean"
            )
    resources = _resources(root)
    if resources.row_count:
        screen.print(resources)
    address = _read(root / RUN_ADDRESS)
    screen.print(f"Plots      {PLOTS}/ " + ", ".join(sorted(path.name for path in (root / PLOTS).glob("*.png"))))
    if (root / REPORT).is_file():
        screen.print(f"Report     {REPORT} (all of this and more on one page, for any browser)")
    if address:
        screen.print(f"MLflow run {address['run_id']} in experiment {address['experiment_id']} of {address['store']}")
    screen.print(
        "Next       make ui (compare runs in the browser), make tune (search hyperparameters), "
        "edit params.yaml and make repro again, .venv/bin/dvc plots show",
    )


def _confusion(metrics: Mapping[str, Any], predictions_file: Path) -> Table:
    """Return the matrix; its rows are in the order of the classes' numbers, as are the columns of `predictions_file`."""
    text = predictions_file.read_text(encoding="utf-8")
    classes = predictions.read_predictions(str(predictions_file), text).classes()
    table = titled_table("label (rows) against prediction (columns)", ("", *classes, "recall"))
    for label, row in zip(classes, metrics["confusion"], strict=True):
        recall = metrics["classes"][label]["recall"]
        table.add_row(label, *map(str, row), "-" if recall is None else f"{recall:.0%}")
    return table


def _resources(root: Path) -> Table:
    headings = ("stage", "run time, s", "CPU time, s", "peak memory, MB", "threads", "processes")
    names = ("run_time_s", "cpu_time_s", "max_memory_mb", "max_threads", "max_processes")
    table = titled_table("latest run of each stage", headings, {"stage"})
    used = {stage: values for stage in STAGES if (values := _read(root / RESOURCES / f"{stage}.json"))}
    for stage, values in used.items():
        table.add_row(stage, *(f"{values[name]:,.0f}" for name in names))
    if used:
        elapsed, cpu, memory = ([values[name] for values in used.values()] for name in names[:3])
        table.add_row("all", f"{sum(elapsed):,.0f}", f"{sum(cpu):,.0f}", f"{max(memory):,.0f}", "", "", style="bold")
    return table


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}
