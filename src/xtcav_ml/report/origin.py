"""Where the results come from: settings, resources, lineage."""

from pathlib import Path
from typing import Any

from xtcav_ml.config import parameters
from xtcav_ml.config.base import flatten, read_tree
from xtcav_ml.config.paths import PARAMS_FILE, RESOURCES, STAGES
from xtcav_ml.data.result_files import Usage
from xtcav_ml.lineage import git, recorded
from xtcav_ml.lineage.environment import environment
from xtcav_ml.report.format import amount
from xtcav_ml.report.frames import picture
from xtcav_ml.report.results import Results
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.mlflow_page import run_page

USAGE_TITLES = {
    "run_time_s": "run time, s",
    "cpu_time_s": "CPU time, s",
    "max_memory_mb": "peak memory, MB",
    "max_threads": "threads",
    "max_processes": "processes",
    "read_mb": "read, MB",
    "written_mb": "written, MB",
}
"""Titles of the values in a stage's file of resources, except those of GPUs, which are named in it."""


DEFAULTS = Path(parameters.__file__).with_name("defaults.yaml")  # params.yaml as it is shipped


def settings_section(results: Results) -> dict[str, Any] | None:
    """Return the parameters that differ from the defaults, with both values; None if these results have no record."""
    if results.recorded is None:
        return None
    made_with = results.recorded.params
    sections = {name.partition(".")[0] for name in made_with}
    default = {
        name: value for name, value in flatten(read_tree(DEFAULTS)).items() if name.partition(".")[0] in sections
    }
    rows = recorded.differing({"default": default, "here": made_with})
    return {
        "rows": [[name, *(value or "–" for value in row.values())] for name, row in rows.items()],
        "all": len(made_with),
    }


def outdated(results: Results) -> list[str]:
    """Return the parameters whose values in params.yaml are not those that the results were made with."""
    if results.recorded is None:
        return []
    try:
        now = flatten(read_tree(results.root / PARAMS_FILE))
    except UserError:
        return []
    sections = {name.partition(".")[0] for name in results.recorded.params}
    now = {name: value for name, value in now.items() if name.partition(".")[0] in sections}
    return list(recorded.differing({"then": results.recorded.params, "now": now}))


def resources_section(results: Results) -> dict[str, Any]:
    """Return time, memory and the rest of each stage's last run on this machine, and their pictures by title."""
    used = {stage: values for stage in STAGES if (values := results.json(RESOURCES / f"{stage}.json", Usage))}
    gpus = {name: name.replace("_", " ") for values in used.values() for name in values if "gpu" in name}
    titles = (USAGE_TITLES | gpus).items()
    rows = [[title, *(amount(values.get(name)) for values in used.values())] for name, title in titles]
    pictures = _pictures(results, RESOURCES, {stage: f"{stage}, over time" for stage in used})
    return {"stages": list(used), "rows": rows, "pictures": pictures}


def _pictures(results: Results, folder: Path, titles: dict[str, str]) -> dict[str, dict[str, Any]]:
    pictures = {title: picture(results, folder / f"{name}.png") for name, title in titles.items()}
    return {title: image for title, image in pictures.items() if image is not None}


def origin_section(results: Results) -> dict[str, Any]:
    """Return commit, MLflow run (None if there is none), hashes of data and code, environment and parameters."""
    return {
        "state": git.state(results.root),
        "run": results.run,
        "page": results.run and run_page(results.run["experiment_id"], results.run["run_id"]),
        "recorded": results.recorded,
        "environment": environment(),
    }
