"""The section that sets the results beside those of the commit before."""

import json
from dataclasses import dataclass
from typing import Any

from xtcav_ml.data import predictions
from xtcav_ml.lineage import dvc_lock, git
from xtcav_ml.report.markup import Markup, Section, element, grid, joined, missing, paragraph, section, table
from xtcav_ml.report.results import METRICS, TABLE, Results
from xtcav_ml.report.wording import number, percent
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
    recorded: dvc_lock.Recorded | None


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


def _recorded(results: Results, revision: str) -> dvc_lock.Recorded | None:
    return dvc_lock.read(lambda name: git.show(revision, name, results.root))


def comparison(results: Results) -> Section:
    """Return the section."""
    then = before(results)
    if then is None:
        what = (
            "No earlier commit has other metrics: commit `results/metrics.json`, `results/predictions.csv` and `dvc.lock`, "
            "and what comes next is set beside them here."
        )
        return section("before", "Beside the commit before", missing(what))
    return section(
        "before",
        "Beside the commit before",
        paragraph("The last commit with other metrics: ", element("strong", then.title)),
        *_verdicts(results, then),
        grid(
            _metrics(results.metrics, then.metrics),
            element("div", *_made_from(results.recorded, then.recorded)),
        ),
    )


def _verdicts(results: Results, then: Earlier) -> list[Markup]:
    """Return what the paired test on the common test shots says."""
    table_now = results.root / TABLE
    if then.table is None or not table_now.is_file():
        return [missing(f"No paired test: that commit has no {TABLE}.")]
    name = then.title.split()[1]
    try:
        rows = [
            (name, predictions.read_rows(name, then.table)),
            ("this run", predictions.read_rows(str(TABLE), table_now.read_text(encoding="utf-8"))),
        ]
        found = predictions.compare_predictions(rows)
    except UserError as error:
        return [missing(f"No paired test: {error}")]
    said = [paragraph(element("strong", f"{entry['verdict']}.")) for entry in found["comparisons"]]
    return [*said, paragraph(f"Paired test on {found['shots']:,} test shots that both have.", class_="note")]


def _metrics(now: dict[str, Any], then: dict[str, Any]) -> Markup:
    rows = []
    for name, title in SHARES.items():
        if name in now and name in then:
            difference = f"{100 * (now[name] - then[name]):+.1f} points"
            rows.append([title, percent(then[name]), percent(now[name]), difference])
    for name, title in NUMBERS.items():
        if name in now and name in then:
            rows.append([title, number(then[name]), number(now[name]), f"{now[name] - then[name]:+.3g}"])
    for name in now.get("classes", {}):
        one, other = (found.get("classes", {}).get(name, {}).get("recall") for found in (then, now))
        if one is not None and other is not None:
            rows.append([f"recall of {name}", percent(one), percent(other), f"{100 * (other - one):+.1f} points"])
    for name in now.get("regression", {}):
        one, other = (found.get("regression", {}).get(name, {}).get("rms_error") for found in (then, now))
        if one is not None and other is not None:
            rows.append([f"r.m.s. error of {name}", number(one), number(other), f"{other - one:+.3g}"])
    shots = (then.get("shots"), now.get("shots"))
    rows.append(["test shots", *(f"{count:,}" if count is not None else "–" for count in shots), ""])
    return table("Metrics", ("metric", "then", "now", "difference"), rows)


def _made_from(now: dvc_lock.Recorded | None, then: dvc_lock.Recorded | None) -> list[Markup]:
    """Return what the results of then and now were not both made from."""
    if now is None or then is None:
        return [missing("Parameters, data and code are compared where both have their dvc.lock.")]
    params = dvc_lock.differing({"then": then.params, "now": now.params})
    parts = [
        table(
            "Parameters that differ",
            ("parameter", "then", "now"),
            [[element("code", name), *(value or "–" for value in values.values())] for name, values in params.items()],
        )
        if params
        else paragraph("Parameters that differ: none.")
    ]
    for what, names in zip(("Data", "Code"), dvc_lock.changed([then, now]), strict=True):
        parts.append(paragraph(f"{what} that differ{'s' if what == 'Code' else ''}: ", _codes(names), "."))
    return parts


def _codes(names: list[str]) -> Markup:
    parts: list[object] = []
    for name in names:
        parts += [", " if parts else None, element("code", name.removeprefix("src/xtcav_ml/"))]
    return joined(*parts) if parts else joined("none")


def _shown(results: Results, revision: str, name: str) -> str | None:
    try:
        return git.show(revision, name, results.root).decode(errors="replace")
    except git.GitError:
        return None
