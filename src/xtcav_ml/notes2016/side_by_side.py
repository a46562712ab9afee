"""experiment: lists the notes' experiments, and writes a table of published and measured results."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xtcav_ml.config.compare import load_compare
from xtcav_ml.config.paths import LOCK_FILE
from xtcav_ml.config.schema import FRAME_SHAPE
from xtcav_ml.lineage import dvc_lock
from xtcav_ml.notes2016 import experiments
from xtcav_ml.notes2016.experiments import Configurations, Experiment
from xtcav_ml.science import two_level
from xtcav_ml.science.thresholds import INTERVAL
from xtcav_ml.system import atomic
from xtcav_ml.system.progress import console, titled_table

COMPARISON = experiments.EXPERIMENTS / "results" / "notes.md"

PAIRS = ("accuracy", "steps", "time of a step", "memory")
HEADINGS = ("experiment", *(f"{pair}, {whose}" for pair in PAIRS for whose in ("published", "here")), "why they differ")
LEAST_SEEDS = 2  # of a group
NOT_RUN, NOT_MEASURED = "not run", "not measured"
INTRODUCTION = """\
# The notes' experiments: what they published, and what came out here

Written by `make notes`. Here: accuracy on the validation shots after the last step, with its 95 % interval; the
median step; the largest resident size of the process.
"""


def list_experiments() -> None:
    """Print each experiment: its title, its needs, and its results, published and here."""
    headings = ("name", "", "data, GB", "long", "published", "here")
    table = titled_table("experiments of the 2016 notes", headings, {*headings} - {"data, GB"})
    table.columns[0].no_wrap, ran = True, dvc_lock.entries(experiments.EXPERIMENTS / LOCK_FILE)
    for name in experiments.experiment_names():
        experiment = experiments.load_experiment(name)
        took = f"about {experiment.hours:g} h" if experiment.hours else "no"
        size = f"{_bytes(name) / 1e9:.2g}"
        here = _accuracy(_read(experiments.result_file(name))) + _seeds(name, ran)
        table.add_row(name, experiment.title, size, took, experiment.published.accuracy, here)
    console().print(table)


def announce(name: str) -> None:
    """Print the title of experiment `name`, and the time and disk that a long one takes."""
    experiment = experiments.load_experiment(name)
    needs = ""
    if experiment.hours:
        needs = f"; about {experiment.hours:g} hours on two cores, {_bytes(name) / 1e9:,.0f} GB of disk"
    console().print(f"experiment {name}: {experiment.title}{needs}")


def write_usage(name: str, sampled: Mapping[str, float], step_seconds: float | None) -> None:
    """Write what the training of experiment `name` took, as sampled from its processes, with the result that it belongs to."""
    usage: dict[str, Any] = {key: value for key, value in sampled.items() if key.endswith(("_mb", "_s"))}
    usage |= {"step_s": step_seconds, "cores": len(os.sched_getaffinity(0))}
    atomic.write_json(experiments.usage_file(name), usage | {"result": _read(experiments.result_file(name))})


def write_comparison() -> None:
    """Write COMPARISON from the results of experiments; it marks those that were not run, or not measured with that result."""
    rows, sections, ran = [], [], dvc_lock.entries(experiments.EXPERIMENTS / LOCK_FILE)
    for name in experiments.experiment_names():
        experiment = experiments.load_experiment(name)
        result, usage = _read(experiments.result_file(name)), _read(experiments.usage_file(name))
        if not result or usage.get("result") != result:
            usage = {}
        if experiment.raw is not None:
            sections += _delays(experiment, result)
        elif experiment.configurations is not None:
            sections += _configurations(experiment, experiment.configurations, result, usage)
        else:
            rows.append(_row(name, experiment, result, usage, ran))
    with atomic.replacing(COMPARISON) as temporary:
        temporary.write_text("\n".join([INTRODUCTION, *_markdown(HEADINGS, rows), *sections, ""]), encoding="utf-8")
    console().print(f"experiment: {sum(row[2] != NOT_RUN for row in rows)} of {len(rows)} were run -> {COMPARISON}")


def _row(
    name: str, experiment: Experiment, result: Mapping[str, Any], usage: Mapping[str, Any], ran: Mapping[str, Any]
) -> list[str]:
    published = experiment.published
    missing = NOT_MEASURED if result else NOT_RUN
    steps = f"{result['steps']:,}" if result else NOT_RUN
    if result and result["perfect_step"]:
        steps = f"{steps}, 100 % after {result['perfect_step']}"
    return [
        f"**{name}**: {experiment.title}",
        published.accuracy,
        _accuracy(result) + _seeds(name, ran),
        published.steps,
        steps,
        published.seconds,
        f"{usage['step_s']:.3g} s ({usage['cores']} cores)" if usage.get("step_s") else missing,
        published.memory,
        f"{usage['max_memory_mb'] / 1000:.2f} GB" if usage else missing,
        experiment.differs,
    ]


def _accuracy(result: Mapping[str, Any]) -> str:
    if not result:
        return NOT_RUN
    if "network" in result:
        return f"{result['network']['mean']:.2f} fs"
    if "accuracy" not in result:
        return "measured"
    return (
        f"{result['accuracy']:.1%} ({result['accuracy_low']:.1%} to {result['accuracy_high']:.1%}) of "
        f"{result['validation_shots']}; {result['train_accuracy']:.1%} in training"
    )


def _seeds(name: str, ran: Mapping[str, Any]) -> str:
    """Return the mean accuracy of an experiment's group of seeds with its spread; empty without two members."""
    results = members(name, ran)
    if len(results) < LEAST_SEEDS:
        return ""
    found = spread(results)
    return (
        f"; mean of {len(results)} seeds {found.mean:.1%}, s.d. {100 * found.sd:.1f} points, {INTERVAL} of the mean "
        f"{found.low:.1%} to {found.high:.1%}"
    )


def members(name: str, ran: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Return the results of an experiment's group of seeds, by seed; `ran` are the stages of the experiments' dvc.lock.

    Members are those of compare.seeds that last ran with the parameters, data and code of the experiment's own result.
    """
    own, found = ran.get(f"train@{name}"), {}
    for seed in load_compare().seeds:
        member, result = ran.get(f"seeds@{name}-{seed}"), _read(experiments.result_file(name, seed))
        if own and member and result and _settings(member) == _settings(own):
            found[seed] = result
    return found


def spread(results: Mapping[int, Mapping[str, Any]]) -> two_level.Spread:
    """Return mean and spread of the accuracy of a group, over seeds and the validation shots, which all members share."""
    shares = [result["accuracy"] for result in results.values()]
    return two_level.spread_of_shares(shares, next(iter(results.values()))["validation_shots"])


def _settings(stage: Mapping[str, Any]) -> tuple[object, ...]:
    """Return what decides a training but its seed: parameters and code by file, and data."""
    files = {
        file: {name: value for name, value in table.items() if name != "train.seed"}
        for file, table in stage["params"].items()
    }
    return files, [(file["path"], file["md5"]) for file in stage["deps"]]


def _delays(experiment: Experiment, result: Mapping[str, Any]) -> list[str]:
    """Return the lines of a table of an experiment on real shots: networks, and the fits beside them."""
    rows = [["published", experiment.published.accuracy, "-", "-", "-"]]
    for name, found in result.items():
        if name != "seeds":
            each = ", ".join(f"{one['mean_absolute_error'][name]:.2f}" for one in result["seeds"])
            interval = f"{found['low']:.3f} to {found['high']:.3f}"
            rows.append([name, f"{found['mean']:.3f}", interval, f"{found['sd']:.3f}", each])
    rows += [] if result else [["here", NOT_RUN, "-", "-", "-"]]
    held = "; ".join(str(one["blocks"]) for one in result.get("seeds", ()))
    return [
        f"\n## {experiment.title}\n",
        "Mean absolute error, fs, and its 95 % interval over seeds, of which each holds out other minutes of the run"
        f"{': ' + held if held else ''}. Why they differ: {experiment.differs}.\n",
        *_markdown(("", "mean absolute error", "95 % interval", "s.d. over seeds", "of each seed"), rows),
    ]


def _configurations(
    experiment: Experiment, own: Configurations, result: Mapping[str, Any], usage: Mapping[str, Any]
) -> list[str]:
    """Return the lines of a second table: time and memory of one step of each configuration."""
    names = [parameter.removeprefix("train.").removeprefix("model.") for parameter in own.parameters]
    sizes, usages = result.get("configurations", []), usage.get("configurations", [])
    complete = len(sizes) == len(usages) == len(own.rows)
    rows = []
    for number, (*values, seconds, megabytes) in enumerate(own.rows):
        here = [NOT_RUN] * 5
        if complete:
            size, used = sizes[number], usages[number]
            here = [f"{size['parameters']:,}", f"{used['seconds']:.3f}", f"{used['step_mb']:,.0f}"]
            here += [f"{size['estimated_step_mb']:,}", f"{used['process_mb']:,.0f}"]
        rows.append([*map(str, values), here[0], str(seconds), here[1], f"{megabytes:,}", *here[2:]])
    cores = f" on {usage['cores']} cores" if complete else ""
    measured = ("s, published", "s, here", "MB, published", "step, MB", "estimate, MB", "process, MB")
    return [
        f"\n## {experiment.title}\n",
        f"Of one step{cores}. Here: the median step, what a step adds to the process, what `xtcav describe` estimates,",
        f"and the whole process with its libraries. Why they differ: {experiment.differs}.\n",
        *_markdown([*names, "parameters", *measured], rows),
    ]


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headings, ["---"] * len(headings), *rows]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines]


def _bytes(name: str) -> int:
    """Return about how much disk the data of experiment `name` take while they are made; 0 if they are another's."""
    experiment = experiments.load_experiment(name)
    if experiment.signal is not None:
        return (experiment.signal.train + experiment.signal.validation) * experiment.signal.size**2 * 2
    if experiment.simulate is None:
        return 0
    simulate, _ = experiments.shot_params(name)
    return sum(simulate.runs.values()) * FRAME_SHAPE[0] * FRAME_SHAPE[1] * 2


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
