"""summary: the results in the workspace in a few lines, for the end of `make repro`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from xtcav_ml.config.paths import METRICS, PLOTS, PREDICTIONS, REPORT, RESOURCES, RUN_ADDRESS, STAGES
from xtcav_ml.data import predictions, result_files
from xtcav_ml.science.thresholds import INTERVAL
from xtcav_ml.system.errors import reading
from xtcav_ml.system.progress import console, titled_table


def print_summary(root: Path) -> None:
    """Print accuracy with its interval, confusion matrix, time, memory and paths of the project in `root`.

    Raises UserError if there are no results yet.
    """
    metrics = result_files.read_metrics(root / METRICS)
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
    address = result_files.read_if_there(root / RUN_ADDRESS, result_files.Address)
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
    classes = predictions.read_file(predictions_file).classes()
    table = titled_table("label (rows) against prediction (columns)", ("", *classes, "recall"))
    with reading(predictions_file, f"the classes of {METRICS}", "run `make repro`"):
        for label, row in zip(classes, metrics["confusion"], strict=True):
            recall = metrics["classes"][label]["recall"]
            table.add_row(label, *map(str, row), "-" if recall is None else f"{recall:.0%}")
    return table


def _resources(root: Path) -> Table:
    headings = ("stage", "run time, s", "CPU time, s", "peak memory, MB", "threads", "processes")
    names = ("run_time_s", "cpu_time_s", "max_memory_mb", "max_threads", "max_processes")
    table = titled_table("latest run of each stage", headings, {"stage"})
    used = {stage: values for stage in STAGES if (values := _usage(root / RESOURCES / f"{stage}.json"))}
    for stage, values in used.items():
        with reading(RESOURCES / f"{stage}.json", f"values of {', '.join(names)}", "remove it"):
            table.add_row(stage, *(f"{values[name]:,.0f}" for name in names))
    if used:
        elapsed, cpu, memory = ([values[name] for values in used.values()] for name in names[:3])
        table.add_row("all", f"{sum(elapsed):,.0f}", f"{sum(cpu):,.0f}", f"{max(memory):,.0f}", "", "", style="bold")
    return table


def _usage(path: Path) -> dict[str, float]:
    return result_files.read_if_there(path, result_files.Usage)
