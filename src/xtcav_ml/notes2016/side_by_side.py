"""experiment: lists the notes' experiments, and writes what they published beside what was measured here."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from xtcav_ml.config.schema import FRAME_SHAPE
from xtcav_ml.notes2016 import experiments
from xtcav_ml.notes2016.experiments import Configurations, Experiment
from xtcav_ml.system import atomic
from xtcav_ml.system.progress import console

TABLE = experiments.FOLDER / "results" / "notes.md"

PAIRS = ("accuracy", "steps", "time of a step", "memory")
HEADINGS = ("experiment", *(f"{pair}, {whose}" for pair in PAIRS for whose in ("published", "here")), "why they differ")
NOT_RUN, NOT_MEASURED = "not run", "not measured"


def listing() -> None:
    """Print each experiment: what it is, what it needs, what was published, and what came out here."""
    table = Table(title="experiments of the 2016 notes", title_justify="left", title_style="")
    for heading in ("name", "", "data, GB", "long", "published", "here"):
        table.add_column(heading, no_wrap=heading == "name", justify="right" if "GB" in heading else "left")
    for name in experiments.experiment_names():
        chosen = experiments.load_experiment(name)
        took = f"about {chosen.hours:g} h" if chosen.hours else "no"
        here = _accuracy(_read(experiments.result_file(name)))
        table.add_row(name, chosen.title, f"{_bytes(name) / 1e9:.2g}", took, chosen.published.accuracy, here)
    console().print(table)


def announce(name: str) -> None:
    """Say what experiment `name` is, and of a long one what it takes, before it begins."""
    chosen = experiments.load_experiment(name)
    needs = f"; about {chosen.hours:g} hours on two cores, {_bytes(name) / 1e9:,.0f} GB of disk" if chosen.hours else ""
    console().print(f"experiment {name}: {chosen.title}{needs}")


def keep_usage(name: str, used: Mapping[str, float], step_seconds: float | None) -> None:
    """Write what the training of experiment `name` took, as its process tree was watched, and of which result that is."""
    values = {key: value for key, value in used.items() if key.endswith(("_mb", "_s"))}
    more = {
        "step_s": step_seconds,
        "cores": len(os.sched_getaffinity(0)),
        "result": _read(experiments.result_file(name)),
    }
    atomic.write_json(experiments.usage_file(name), values | more)


def write_table() -> None:
    """Write TABLE from what experiments have left. What was not run, or not measured with that result, is said to be so."""
    rows, parts = [], []
    for name in experiments.experiment_names():
        chosen = experiments.load_experiment(name)
        result, usage = _read(experiments.result_file(name)), _read(experiments.usage_file(name))
        if chosen.configurations is not None:
            parts += _configurations(chosen, chosen.configurations, result, usage)
        else:
            rows.append(_row(name, chosen, result, usage))
    text = [
        "# The notes' experiments: what they published, and what came out here",
        "",
        "Written by `make notes`. Here: accuracy on the validation shots after the last step, with its 95 % interval; the",
        "median step; the largest resident size of the process.",
        "",
        *_markdown(HEADINGS, rows),
        *parts,
    ]
    with atomic.replacing(TABLE) as temporary:
        temporary.write_text("\n".join(text) + "\n", encoding="utf-8")
    console().print(f"experiment: {sum(row[2] != NOT_RUN for row in rows)} of {len(rows)} were run -> {TABLE}")


def _row(name: str, chosen: Experiment, result: Mapping[str, Any], usage: Mapping[str, Any]) -> list[str]:
    published, measured = chosen.published, usage if result and usage.get("result") == result else {}
    missing = NOT_MEASURED if result else NOT_RUN
    steps = f"{result['steps']:,}" if result else NOT_RUN
    if result and result["perfect_step"]:
        steps = f"{steps}, 100 % after {result['perfect_step']}"
    return [
        f"**{name}**: {chosen.title}",
        published.accuracy,
        _accuracy(result),
        published.steps,
        steps,
        published.seconds,
        f"{measured['step_s']:.3g} s ({measured['cores']} cores)" if measured.get("step_s") else missing,
        published.memory,
        f"{measured['max_memory_mb'] / 1000:.2f} GB" if measured else missing,
        chosen.differs,
    ]


def _accuracy(result: Mapping[str, Any]) -> str:
    if not result:
        return NOT_RUN
    if "accuracy" not in result:
        return "measured"
    return (
        f"{result['accuracy']:.1%} ({result['accuracy_low']:.1%} to {result['accuracy_high']:.1%}) of "
        f"{result['validation_shots']}; {result['train_accuracy']:.1%} in training"
    )


def _configurations(
    chosen: Experiment, own: Configurations, result: Mapping[str, Any], usage: Mapping[str, Any]
) -> list[str]:
    """Return the lines of a second table, of what one step of each configuration takes."""
    names = [parameter.removeprefix("train.").removeprefix("model.") for parameter in own.parameters]
    known, found = result.get("configurations", []), usage.get("configurations", [])
    whole = usage.get("result") == result and len(known) == len(found) == len(own.rows)
    rows = []
    for number, (*values, seconds, megabytes) in enumerate(own.rows):
        here = [NOT_RUN] * 5
        if whole:
            sizes, took = known[number], found[number]
            here = [f"{sizes['parameters']:,}", f"{took['seconds']:.3f}", f"{took['step_mb']:,.0f}"]
            here += [f"{sizes['estimated_step_mb']:,}", f"{took['process_mb']:,.0f}"]
        rows.append([*map(str, values), here[0], str(seconds), here[1], f"{megabytes:,}", *here[2:]])
    where = f" on {usage['cores']} cores" if whole else ""
    headings = [
        *names,
        "parameters",
        "s, published",
        "s, here",
        "MB, published",
        "step, MB",
        "estimate, MB",
        "process, MB",
    ]
    return [
        "",
        f"## {chosen.title}",
        "",
        f"Of one step{where}. Here: the median step, what a step adds to the process, what `xtcav describe` estimates,",
        f"and the whole process with its libraries. Why they differ: {chosen.differs}.",
        "",
        *_markdown(headings, rows),
    ]


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headings, ["---"] * len(headings), *rows]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines]


def _bytes(name: str) -> int:
    """Return about how much disk the data of experiment `name` take while they are made; 0 if they are another's."""
    chosen = experiments.load_experiment(name)
    if chosen.signal is not None:
        return (chosen.signal.train + chosen.signal.validation) * chosen.signal.size**2 * 2
    if chosen.simulate is None:
        return 0
    simulate, _ = experiments.shot_params(name)
    return sum(simulate.runs.values()) * FRAME_SHAPE[0] * FRAME_SHAPE[1] * 2


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
