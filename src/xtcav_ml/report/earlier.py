"""The results compared with those of the previous commit that has others."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from xtcav_ml.config.paths import METRICS, PREDICTIONS
from xtcav_ml.data import predictions
from xtcav_ml.lineage import git, recorded
from xtcav_ml.report.format import amount, number, percent
from xtcav_ml.report.results import Results
from xtcav_ml.system.errors import UserError

SHARES = ("accuracy", "balanced_accuracy", "validation_accuracy")
NUMBER_TITLES = {
    "cross_entropy": "cross-entropy, nats",
    "expected_calibration_error": "expected calibration error",
    "brier": "Brier score",
}
"""Metrics that are compared where both results have them, and titles of those that are no shares."""


@dataclass(frozen=True)
class Earlier:
    """The results of a commit."""

    title: str
    metrics: dict[str, Any]
    table: str | None
    recorded: recorded.Recorded | None


@dataclass(frozen=True)
class Comparison:
    """Differences from the results of an earlier commit."""

    title: str | None = None  # of the commit; None if there is none
    verdicts: list[str] = field(default_factory=list)
    note: str = ""  # the test of the verdicts, or why there are none
    metrics: list[list[str]] = field(default_factory=list)  # name, then, now, difference
    params: list[list[str]] | None = None  # name, then, now of those that differ; None where either has no dvc.lock
    data: list[str] = field(default_factory=list)
    code: list[str] = field(default_factory=list)


def before(results: Results) -> Earlier | None:
    """Return the results of the newest commit with other metrics; None if there is none, or no git."""
    for revision in git.changing(str(METRICS), results.root):
        read = partial(git.show, revision, folder=results.root)
        try:
            metrics = json.loads(read(str(METRICS)))
        except (git.GitError, ValueError):  # removed there, or damaged
            continue
        if metrics != results.metrics:
            try:
                table = read(str(PREDICTIONS)).decode(errors="replace")
            except git.GitError:
                table = None
            return Earlier(git.title(revision, results.root), metrics, table, recorded.read_locks(read))
    return None


def comparison(results: Results) -> Comparison:
    """Return the differences from the previous results, and whether the network is better."""
    then = before(results)
    if then is None:
        return Comparison()
    compared = (then.title, *_verdicts(results, then), _metrics(results.metrics, then.metrics))
    if results.recorded is None or then.recorded is None:
        return Comparison(*compared)
    params = recorded.differing({"then": then.recorded.params, "now": results.recorded.params})
    changed = [[name, *(value or "–" for value in values.values())] for name, values in params.items()]
    return Comparison(*compared, changed, *recorded.changed([then.recorded, results.recorded]))


def _verdicts(results: Results, then: Earlier) -> tuple[list[str], str]:
    """Return the verdicts of the paired test on the common test shots, and which test it is or why there is none."""
    present = results.root / PREDICTIONS
    if then.table is None or not present.is_file():
        return [], f"No paired test: that commit has no {PREDICTIONS}."
    name = then.title.split()[1]
    texts = {name: (name, then.table), "this run": (str(PREDICTIONS), present.read_text(encoding="utf-8"))}
    try:
        rows = [(run, predictions.read_rows(*text)) for run, text in texts.items()]
        result = predictions.compare_predictions(rows)
    except UserError as error:
        return [], f"No paired test: {error}"
    return [
        entry["verdict"] for entry in result["comparisons"]
    ], f"Paired test on {result['shots']:,} common test shots."


def _metrics(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[list[str]]:
    """Return each metric that both have: its name, then, now, difference."""
    shares = [(name.replace("_", " "), then.get(name), now.get(name)) for name in SHARES]
    numbers = [(title, then.get(name), now.get(name)) for name, title in NUMBER_TITLES.items()]
    shares += _entries("recall of", "classes", "recall", then, now)
    numbers += _entries("r.m.s. error of", "regression", "rms_error", then, now)
    rows = _rows(shares, percent, lambda change: f"{100 * change:+.1f} points")
    rows += _rows(numbers, number, lambda change: f"{change:+.3g}")
    return [*rows, ["test shots", amount(then.get("shots")), amount(now.get("shots")), ""]]


Pair = tuple[str, float | None, float | None]  # title of a measure, its values then and now


def _entries(title: str, kind: str, measure: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Pair]:
    """Yield a measure of each class or number of now."""
    for name, entry in now.get(kind, {}).items():
        yield f"{title} {name}", then.get(kind, {}).get(name, {}).get(measure), entry.get(measure)


def _rows(pairs: list[Pair], text: Callable[[float], str], change: Callable[[float], str]) -> list[list[str]]:
    return [
        [title, text(one), text(other), change(other - one)]
        for title, one, other in pairs
        if one is not None and other is not None
    ]
