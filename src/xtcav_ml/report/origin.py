"""Where the results come from: search, resources, lineage."""

from dataclasses import dataclass
from typing import Any

from xtcav_ml.config.base import PARAMS_FILE, flatten, read_tree
from xtcav_ml.config.paths import STAGES
from xtcav_ml.lineage import git, recorded
from xtcav_ml.lineage.environment import environment
from xtcav_ml.report.format import amount
from xtcav_ml.report.frames import Picture, picture
from xtcav_ml.report.results import Results
from xtcav_ml.system.errors import UserError

MEASURES = {
    "run_time_s": "run time, s",
    "cpu_time_s": "CPU time, s",
    "max_memory_mb": "peak memory, MB",
    "max_threads": "threads",
    "max_processes": "processes",
    "read_mb": "read, MB",
    "written_mb": "written, MB",
}
"""What resources.py keeps of a stage, and what it is called; those of GPUs are named after it."""


@dataclass(frozen=True)
class Search:
    """What `make tune` found best, and its pictures by title."""

    best: dict[str, Any]  # results/tuning/best.json
    rows: list[list[str]]  # the best parameters: name, value
    pictures: dict[str, Picture]


@dataclass(frozen=True)
class Resources:
    """What each stage used in its last run on this machine, and its pictures by title."""

    stages: list[str]
    rows: list[list[str]]  # a measure: its name, and its value for each stage
    pictures: dict[str, Picture]


@dataclass(frozen=True)
class Origin:
    """Commit, MLflow run, and all that DVC and this machine know of where the results come from."""

    state: dict[str, str]
    run: dict[str, Any]  # results/resources/run.json; empty if there is none
    recorded: recorded.Recorded | None
    environment: dict[str, str]


def outdated(results: Results) -> list[str]:
    """Return the parameters that are not, in params.yaml, what the results were made with."""
    if results.recorded is None:
        return []
    try:
        now = flatten(read_tree(results.root / PARAMS_FILE))
    except UserError:
        return []
    sections = {name.partition(".")[0] for name in results.recorded.params}
    now = {name: value for name, value in now.items() if name.partition(".")[0] in sections}
    return list(recorded.differing({"then": results.recorded.params, "now": now}))


def search(results: Results) -> Search | None:
    """Return what `make tune` found best; None if it has not run."""
    best = results.json("tuning/best.json")
    titles = {
        "tuning/history.png": "Score of each trial, and the best so far",
        "tuning/importance.png": "Share of each parameter in the variance of the score",
    }
    if not best:
        return None
    values = best["params"].items()
    rows = [[name, f"{value:.4g}" if isinstance(value, float) else str(value)] for name, value in values]
    return Search(best, rows, _pictures(results, titles))


def resources(results: Results) -> Resources:
    """Return time, memory and the rest of each stage's last run on this machine."""
    used = {stage: found for stage in STAGES if (found := results.json(f"resources/{stage}.json"))}
    names = MEASURES | {name: name.replace("_", " ") for found in used.values() for name in found if "gpu" in name}
    rows = [[title, *(amount(found.get(name)) for found in used.values())] for name, title in names.items()]
    titles = {f"resources/{stage}.png": f"{stage}, over time" for stage in used}
    return Resources(list(used), rows, _pictures(results, titles))


def _pictures(results: Results, titles: dict[str, str]) -> dict[str, Picture]:
    pictures = {title: picture(results, name) for name, title in titles.items()}
    return {title: found for title, found in pictures.items() if found is not None}


def origin(results: Results) -> Origin:
    """Return commit, MLflow run, hashes of data and code, environment and parameters."""
    run = results.json("resources/run.json")
    return Origin(git.state(results.root), run, results.recorded, environment())
