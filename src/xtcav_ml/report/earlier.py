"""The results compared with those of the previous commit that has others."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from xtcav_ml.data import predictions
from xtcav_ml.lineage import git, recorded
from xtcav_ml.report.format import amount, number, percent
from xtcav_ml.report.results import METRICS, TABLE, Results
from xtcav_ml.system.errors import UserError

SHARES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "validation_accuracy": "validation accuracy",
}
NUMBERS = {
    "cross_entropy": "cross-entropy, nats",
    "expected_calibration_error": "expected calibration error",
    "brier": "Brier score",
}
"""Metrics that are compared where both have them, and what they are called."""


@dataclass(frozen=True)
class Earlier:
    """What a commit has of its results."""

    revision: str
    title: str
    metrics: dict[str, Any]
    table: str | None
    recorded: recorded.Recorded | None


@dataclass(frozen=True)
class Comparison:
    """What differs from the results of an earlier commit."""

    title: str | None  # of the commit; None if there is none
    verdicts: list[str]
    note: str  # on what the verdicts rest, or why there are none
    metrics: list[list[str]]  # name, then, now, difference
    params: list[list[str]] | None  # name, then, now of those that differ; None where either has no dvc.lock
    data: list[str]
    code: list[str]


def before(results: Results) -> Earlier | None:
    """Return the results of the newest commit whose metrics are not those at hand; None if there is none, or no git."""
    for revision in git.changing(str(METRICS), results.root):
        try:
            metrics = json.loads(git.show(revision, str(METRICS), results.root))
        except (git.GitError, ValueError):  # removed there, or damaged
            continue
        if metrics != results.metrics:
            return Earlier(
                revision,
                git.title(revision, results.root),
                metrics,
                _shown(results, revision, str(TABLE)),
                _recorded(results, revision),
            )
    return None


def _recorded(results: Results, revision: str) -> recorded.Recorded | None:
    return recorded.read(lambda name: git.show(revision, name, results.root))


def comparison(results: Results) -> Comparison:
    """Return what differs from the previous results, and whether the network is better."""
    then = before(results)
    if then is None:
        return Comparison(None, [], "", [], None, [], [])
    verdicts, note = _verdicts(results, then)
    metrics = _metrics(results.metrics, then.metrics)
    if results.recorded is None or then.recorded is None:
        return Comparison(then.title, verdicts, note, metrics, None, [], [])
    params = recorded.differing({"then": then.recorded.params, "now": results.recorded.params})
    changed = [[name, *(value or "–" for value in values.values())] for name, values in params.items()]
    data, code = recorded.changed([then.recorded, results.recorded])
    return Comparison(then.title, verdicts, note, metrics, changed, data, code)


def _verdicts(results: Results, then: Earlier) -> tuple[list[str], str]:
    """Return the verdicts of the paired test on the common test shots, and on what it rests or why there is none."""
    table_now = results.root / TABLE
    if then.table is None or not table_now.is_file():
        return [], f"No paired test: that commit has no {TABLE}."
    name = then.title.split()[1]
    try:
        rows = [
            (name, predictions.read_rows(name, then.table)),
            ("this run", predictions.read_rows(str(TABLE), table_now.read_text(encoding="utf-8"))),
        ]
        found = predictions.compare_predictions(rows)
    except UserError as error:
        return [], f"No paired test: {error}"
    return [entry["verdict"] for entry in found["comparisons"]], f"Paired test on {found['shots']:,} common test shots."


def _metrics(now: dict[str, Any], then: dict[str, Any]) -> list[list[str]]:
    """Return each metric that both have: its name, then, now, difference."""
    shares = {title: (then.get(name), now.get(name)) for name, title in SHARES.items()}
    numbers = {title: (then.get(name), now.get(name)) for name, title in NUMBERS.items()}
    shares |= {f"recall of {name}": pair for name, pair in _entries("classes", "recall", then, now)}
    numbers |= {f"r.m.s. error of {name}": pair for name, pair in _entries("regression", "rms_error", then, now)}
    rows = [
        [title, percent(one), percent(other), f"{100 * (other - one):+.1f} points"]
        for title, (one, other) in shares.items()
        if one is not None and other is not None
    ]
    rows += [
        [title, number(one), number(other), f"{other - one:+.3g}"]
        for title, (one, other) in numbers.items()
        if one is not None and other is not None
    ]
    return [*rows, ["test shots", amount(then.get("shots")), amount(now.get("shots")), ""]]


def _entries(
    kind: str, measure: str, then: dict[str, Any], now: dict[str, Any]
) -> Iterator[tuple[str, tuple[float | None, float | None]]]:
    """Yield a measure, then and now, of each class or number of now."""
    for name, entry in now.get(kind, {}).items():
        yield name, (then.get(kind, {}).get(name, {}).get(measure), entry.get(measure))


def _shown(results: Results, revision: str, name: str) -> str | None:
    try:
        return git.show(revision, name, results.root).decode(errors="replace")
    except git.GitError:
        return None
