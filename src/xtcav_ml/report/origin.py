"""Sections on where the results come from: search, resources, lineage."""

from collections.abc import Mapping
from typing import Any

from xtcav_ml.config.base import PARAMS_FILE, flatten, read_tree
from xtcav_ml.lineage import dvc_lock, git, lineage
from xtcav_ml.report.markup import (
    Markup,
    Section,
    element,
    figure,
    grid,
    joined,
    marked,
    missing,
    paragraph,
    section,
    table,
)
from xtcav_ml.report.pictures import picture
from xtcav_ml.report.results import Results
from xtcav_ml.report.wording import number
from xtcav_ml.system.errors import UserError

STAGES = ("simulate", "check", "prepare", "train", "evaluate")
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
    return list(dvc_lock.differing({"then": results.recorded.params, "now": now}))


def search(results: Results) -> Section | None:
    """Return what `make tune` found best; None if it has not run."""
    best = results.json("tuning/best.json")
    if not best:
        return None
    said = f"Study {best['study']}: trial {best['trial']} did best, validation score {number(best['score'])}."
    rows = [
        [element("code", name), f"{value:.4g}" if isinstance(value, float) else value]
        for name, value in best["params"].items()
    ]
    sheets = [
        _small(results, f"tuning/{name}.png", title)
        for name, title in (
            ("history", "Score of each trial, and the best so far"),
            ("importance", "Share of each parameter in the variance of the score"),
        )
    ]
    hint = paragraph(
        element("code", "xtcav promote"),
        " writes these into params.yaml; they are not those of the results above unless that was done.",
        class_="note",
    )
    return section(
        "search", "Search", paragraph(said), table("Best parameters", ("parameter", "value"), rows), *sheets, hint
    )


def resources(results: Results) -> Section:
    """Return time, memory and the rest of each stage's last run here."""
    used = {stage: found for stage in STAGES if (found := results.json(f"resources/{stage}.json"))}
    if not used:
        what = "results/resources is not here: it is of the machine that ran the stages, and `make repro` writes it."
        return section("resources", "Resources", missing(what))
    names = MEASURES | {name: name.replace("_", " ") for found in used.values() for name in found if "gpu" in name}
    rows = [[title, *(_amount(found.get(name)) for found in used.values())] for name, title in names.items()]
    sheets = [_small(results, f"resources/{stage}.png", f"{stage}, over time") for stage in used]
    return section(
        "resources", "Resources", table("Last run of each stage on this machine", ("", *used), rows), grid(*sheets)
    )


def _amount(value: float | None) -> str:
    """Return a number, one digit after the point where it is small."""
    return "–" if value is None else f"{value:,.{int(0 < value < 100 and value % 1 > 0)}f}"


def _small(results: Results, name: str, title: str) -> Markup | None:
    path = results.path(name)
    return None if path is None else figure(picture(path, title), title, "small")


def origin(results: Results) -> Section:
    """Return commit, MLflow run, hashes of data and code, environment and parameters."""
    state = git.state(results.root)
    dirty = " and edited since: what was edited is in no commit" if state["dirty"] == "true" else ""
    run = results.json("resources/run.json")
    facts: list[list[Any]] = [["commit", joined(element("code", state["commit"]), dirty)], ["branch", state["branch"]]]
    if run:
        place = f"#/experiments/{run['experiment_id']}/runs/{run['run_id']}"
        opens = marked(f"; `make ui` shows it, at `{place}` of the address that it prints")
        facts.append(["MLflow run", joined(element("code", run["run_id"]), f" of {run['store']}", opens)])
    recorded = results.recorded
    if recorded is not None:
        facts.append(["lineage key", joined(element("code", recorded.key), ", the tag lineage.key of its MLflow runs")])
    parts = [
        table("Commit and run", ("what", "value"), facts, "text"),
        *_listed("Environment now", lineage.environment()),
    ]
    if recorded is None:
        what = "`dvc.lock`, which says what the results were made from, is not here: `make repro` brings it."
        return section("origin", "Lineage", *parts, missing(what))
    parts += _listed("Data and results, MD5 as DVC knows them", recorded.data)
    parts += _listed("Code, MD5 as DVC knows it", recorded.code)
    parts += _listed("Parameters that the results were made with", recorded.params)
    return section("origin", "Lineage", *parts)


def _listed(title: str, values: Mapping[str, Any]) -> list[Markup]:
    """Return names and values, many to a page."""
    items = [element("div", element("dt", name), element("dd", value)) for name, value in values.items()]
    return [element("h3", title), element("dl", *items, class_="facts")]
