"""summary: the results in the workspace in a few lines, for the end of `make repro`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from xtcav_ml.config.paths import EVALUATION, GROUP, HISTORY, PLOTS, PREDICTIONS, REPORT, RESOURCES, STAGES
from xtcav_ml.data import group_files, predictions, result_files
from xtcav_ml.data.history import read_history
from xtcav_ml.lineage import recorded
from xtcav_ml.report.current import Run
from xtcav_ml.science import epochs
from xtcav_ml.science.thresholds import INTERVAL
from xtcav_ml.system.errors import reading
from xtcav_ml.system.mlflow_page import run_page
from xtcav_ml.system.progress import console, labelled, titled_table
from xtcav_ml.tracking.last_run import run_before
from xtcav_ml.tracking.mlflow_names import storable_name

NAMED = 3  # changed parameters of those shown


def print_summary(root: Path, run: Run) -> None:
    """Print accuracy with its interval, confusion matrix, time, memory and paths of the project in `root`, and their `run`.

    Raises UserError if there are no results yet.
    """
    metrics = result_files.read_metrics(root / EVALUATION)
    screen = console()
    screen.print()
    for line in results(metrics):
        screen.print(line)
    for line in seeds(root):
        screen.print(line)
    if "accuracy" in metrics:
        screen.print(confusion(metrics, root / PREDICTIONS))
    resources = _resources(root)
    if resources.row_count:
        screen.print(resources)
    for heading, text in {
        "Learning": _learning(root / HISTORY, metrics["best_epoch"]),
        "Plots": f"{PLOTS}/ " + ", ".join(sorted(path.name for path in (root / PLOTS).glob("*.png"))),
        **(_run(root, run, metrics) if run else {}),
        "Report": (root / REPORT).resolve().as_uri() if (root / REPORT).is_file() else "",
        "Next": "`make ui` compares runs in the browser, `make tune` searches hyperparameters; or edit params.yaml, then "
        "`make repro`; `.venv/bin/dvc plots show`",
    }.items():
        if text:
            screen.print(labelled(heading, text, screen.width))


ONE_SEED = "Of one seed: another may differ by points. `make seeds` trains several, and shows their mean and spread."


def seeds(root: Path) -> list[str]:
    """Return what other seeds of the same settings give, or how to find that out."""
    group = None
    if (root / GROUP).is_file():
        group = group_files.present(root, recorded.group_in(root))
    return [ONE_SEED] if group is None else [f"{sentence}." for sentence in group_files.sentences(group)]


def print_group() -> None:
    """Print the results of the group of seeds in the workspace, of each seed and together. Raises UserError without one."""
    group = result_files.read(GROUP, result_files.Group, group_files.CURE)
    names = {"accuracy": "accuracy", "expected_accuracy": "expected accuracy"}
    names |= {"best_val_accuracy": "validation accuracy", "cross_entropy": "cross-entropy, nats"}
    rows = [(seed, result_files.numbers(one)) for seed, one in group["seeds"].items()]
    names |= {name: name for name in rows[0][1] if name.startswith("regression.")}
    shown = {name: title for name, title in names.items() if all(name in one for _, one in rows)}
    table = titled_table(f"{len(rows)} seeds, {group['shots']:,} test shots", ["seed", "best epoch", *shown.values()])
    for seed, one in rows:
        table.add_row(seed, f"{one['best_epoch']:.0f}", *(f"{one[name]:.4g}" for name in shown))
    console().print(table)
    for sentence in group_files.sentences(group):
        console().print(sentence)
    if recorded.group_in(Path()) != group["group"]:
        console().print(
            "These are not the settings, test set and code of the present results: `make seeds` makes theirs."
        )


def results(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence on what was reached in each quantity, and on what bounds it."""
    if "accuracy" in metrics:
        yield (
            f"Test accuracy {metrics['accuracy']:.1%} ({INTERVAL} {metrics['accuracy_low']:.1%} to "
            f"{metrics['accuracy_high']:.1%}) on {metrics['shots']} shots; majority-class "
            f"baseline: {metrics['largest_class']:.1%}, {metrics['z_score']:.1f} standard deviations lower (paired test)."
        )
    if metrics.get("bayes_accuracy") is not None:
        yield (
            f"With labels drawn again for the same pulses {metrics['expected_accuracy']:.1%} is expected, and "
            f"{metrics['bayes_accuracy']:.1%} of whoever knows the pulses: the ceiling."
        )
    for name, errors in metrics.get("regression", {}).items():
        if errors["shots"]:
            yield (
                f"{name}: r.m.s. error {errors['rms_error']:.3g} on {errors['shots']} test shots; {errors['spread']:.3g} for "
                "a constant prediction, the mean"
            )


def _learning(history: Path, kept: int) -> str:
    """Return the score of each epoch as a line of bars, with the `kept` one; empty if there is no history."""
    if not history.is_file():
        return ""
    with reading(history, "values of each epoch of `xtcav train`", "remove it, then run `make repro`"):
        return learning(read_history(history), kept)


def learning(rows: Sequence[Mapping[str, float]], kept: int) -> str:
    """Return the score of each epoch as a line of bars, with the `kept` one (from 1), as evaluation.json has it."""
    scores = epochs.scores(rows)
    return (
        f"{sparkline(scores)} {epochs.described(rows[0])}: {-scores[0]:.3f} to {-scores[kept - 1]:.3f}, kept epoch {kept} of "
        f"{len(rows)}"
    )


BARS = "▁▂▃▄▅▆▇█"
MOST_BARS = 32  # epochs that are drawn; of more, some between are left out


def sparkline(values: Sequence[float]) -> str:
    """Return a bar for each value, the lowest and the highest as far apart as letters can be."""
    count = min(len(values), MOST_BARS)
    drawn = [values[round(i * (len(values) - 1) / max(count - 1, 1))] for i in range(count)]
    low, high = min(drawn), max(drawn)
    return "".join(BARS[round((value - low) / (high - low) * (len(BARS) - 1)) if high > low else 0] for value in drawn)


def _run(root: Path, run: Mapping[str, str], metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return the run before that of these results, and where to look at theirs."""
    page = run_page(run["experiment_id"], run["run_id"])
    server = run["store"].startswith("http")
    place = f"{run['store'].rstrip('/')}/{page}" if server else f"`make ui`, then http://127.0.0.1:5000/{page}"
    return {
        "Last run": "" if server else _last_run(root, run["run_id"], metrics),
        "MLflow run": f"{run['run_id']} in {run['store']}; {place}",
    }


def _last_run(root: Path, run_id: str, metrics: Mapping[str, Any]) -> str:
    """Return what the run before reached, what changed since, and how to test the difference."""
    targets = [name for name, errors in metrics.get("regression", {}).items() if errors["shots"]]
    if "accuracy" not in metrics and not targets:
        return ""
    measured = "accuracy" if "accuracy" in metrics else f"regression.{targets[0]}.rms_error"
    last = run_before(root, run_id, storable_name(measured))
    if last is None:
        return "none before this one"
    digits, changed = last.run_id[:8], [f"{name} {then} -> {now}" for name, (then, now) in last.changed.items()]
    more = [f"{len(changed) - NAMED} more"] if len(changed) > NAMED else []
    difference = (
        f"{last.value:.1%}, now {100 * (metrics['accuracy'] - last.value):+.1f} points"
        if measured == "accuracy"
        else f"{measured} {last.value:.3g}, now {metrics['regression'][targets[0]]['rms_error'] - last.value:+.3g}"
    )
    return (
        f"{digits} ({last.name}): {difference}; changed: {', '.join([*changed[:NAMED], *more]) or 'no parameter'}; "
        f"`xtcav compare {digits} .` tests the difference"
    )


def confusion(metrics: Mapping[str, Any], predictions_file: Path) -> Table:
    """Return the matrix; its rows are in the order of the classes' numbers, as are the columns of `predictions_file`."""
    classes = predictions.read_file(predictions_file).classes()
    table = titled_table("label (rows) against prediction (columns)", ("", *classes, "recall"))
    with reading(predictions_file, f"the classes of {EVALUATION}", "run `make repro`"):
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
