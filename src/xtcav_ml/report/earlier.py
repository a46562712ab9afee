"""The results compared with those of the previous commit that has others."""

import contextlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from xtcav_ml.config.base import flatten
from xtcav_ml.config.paths import EVALUATION, METRICS, PREDICTIONS
from xtcav_ml.data import group_files
from xtcav_ml.data.compared_predictions import ONE_SEED, compare_predictions, run_of
from xtcav_ml.lineage import git, recorded
from xtcav_ml.lineage.recorded import Recorded
from xtcav_ml.report.format import amount, number, percent
from xtcav_ml.report.results import Results
from xtcav_ml.system.errors import UserError

SHARES = ("accuracy", "balanced_accuracy", "best_val_accuracy")
NUMBER_TITLES = {
    "cross_entropy": "cross-entropy, nats",
    "expected_calibration_error": "expected calibration error",
    "brier": "Brier score",
}
"""Metrics that are compared where both results have them, and titles of those that are no shares."""


def before(results: Results) -> tuple[str, dict[str, Any]] | None:
    """Return the newest commit with other metrics, and these; None if there is none, or no git."""
    for revision in git.changing(str(METRICS), results.root):
        with contextlib.suppress(git.GitError, ValueError):  # removed there, or damaged
            metrics = json.loads(_evaluation(revision, results.root))
            if any(metrics[name] != results.metrics[name] for name in metrics.keys() & results.metrics.keys()):
                return revision, metrics
    return None


def _evaluation(revision: str, root: Path) -> bytes:
    """Return the metrics of a commit; earlier versions of this program kept all of them in METRICS. Raises GitError."""
    with contextlib.suppress(git.GitError):
        return git.file_at(revision, str(EVALUATION), root)
    return git.file_at(revision, str(METRICS), root)


def comparison_section(results: Results) -> dict[str, Any]:
    """Return the differences from the previous results, and whether the network is better.

    `title` is None where there are none, `params` where either has no dvc.lock.
    """
    earlier = before(results)
    if earlier is None:
        return {"title": None}
    revision, metrics = earlier
    read = partial(git.file_at, revision, folder=results.root)
    title, then, now = git.title(revision, results.root), recorded.read_locks(read), results.recorded
    verdicts, note = _verdicts(results, title.split()[1], read, then)
    section: dict[str, Any] = {"title": title, "verdicts": verdicts, "note": note, "params": None}
    section["metrics"] = _metrics(results.metrics, metrics)
    if then and now:
        params = recorded.differing({"then": then.params, "now": now.params})
        section["params"] = [[name, *(value or "–" for value in values.values())] for name, values in params.items()]
        section["data"], section["code"] = recorded.changed([then, now])
    return section


def _verdicts(
    results: Results, commit: str, read: Callable[[str], bytes], then: Recorded | None
) -> tuple[list[str], str]:
    """Return the verdicts of the test on the common test shots, and what was tested or why nothing was."""
    projects = {commit: (read, then), "this run": (lambda name: (results.root / name).read_bytes(), results.recorded)}
    try:
        runs = []
        for name, (file, origin) in projects.items():
            group = group_files.read_table(file, recorded.evaluated_group(origin, file))
            key, simulated = (origin.group, origin.simulated) if origin else ("", False)
            text = file(str(PREDICTIONS)).decode(errors="replace")
            runs.append(run_of(name, text, group, key, independent=simulated))
        result = compare_predictions(runs)
    except (git.GitError, OSError):
        return [], f"No paired test: that commit or this folder has no {PREDICTIONS}."
    except UserError as error:
        return [], f"No paired test: {error}"
    note = f"Paired test on {result['shots']:,} common test shots"
    if result["level"] == "models":
        note += f": {ONE_SEED}"
    return [entry["verdict"] for entry in result["comparisons"]], f"{note}."


def _metrics(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[list[str]]:
    """Return each metric that both have: its name, then, now, difference."""
    shares = {name: name.replace("_", " ") for name in SHARES}
    shares |= {f"classes.{name}.recall": f"recall of {name}" for name in now.get("classes", {})}
    numbers = {f"regression.{name}.rms_error": f"r.m.s. error of {name}" for name in now.get("regression", {})}
    first, second = flatten(dict(then)), flatten(dict(now))
    rows = []
    for name, title in (shares | NUMBER_TITLES | numbers).items():
        one, other = first.get(name), second.get(name)
        if one is not None and other is not None:
            change = other - one
            cells = (percent(one), percent(other), f"{100 * change:+.1f} points")
            if name not in shares:
                cells = (number(one), number(other), f"{change:+.3g}")
            rows.append([title, *cells])
    return [*rows, ["test shots", amount(then.get("shots")), amount(now.get("shots")), ""]]
