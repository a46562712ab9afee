"""Sections on what the network is worth: headline and test."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.schema import SCHEMA
from xtcav_ml.data.predictions import ACTUAL, PREDICTED, PROBABILITY
from xtcav_ml.report.charts import Chart, span
from xtcav_ml.report.markup import Markup, Section, element, grid, paragraph, section, table
from xtcav_ml.report.results import Results
from xtcav_ml.report.wording import number, percent
from xtcav_ml.science import metrics


def headline(results: Results) -> Markup:
    """Return what the network is worth, in three numbers, or one for each number that is learned."""
    found, cards = results.metrics, []
    if "accuracy" in found:
        interval = f"95 % interval {percent(found['accuracy_low'])} to {percent(found['accuracy_high'])}"
        cards.append(("Test accuracy", percent(found["accuracy"]), f"{interval}; {results.shots:,} shots"))
        if "ceiling" in found:
            interval = f"{percent(found['ceiling_low'])} to {percent(found['ceiling_high'])}"
            cards.append(("Ceiling", percent(found["ceiling"]), f"{interval}: labels that noise has not changed"))
        z = found["z_score"]
        above = f"always choosing it; the network is {number(z)} standard deviations above (McNemar, on the same shots)"
        cards.append(("Largest class", percent(found["largest_class"]), above))
    for name, errors in found.get("regression", {}).items():
        always = f"{number(errors['spread'])} if its mean is always said; {errors['shots']:,} shots"
        cards.append((f"Error of {name}", number(errors["rms_error"]), f"r.m.s.; {unit(name)}; {always}"))
    shown = [
        element("div", element("dt", name), element("dd", value, class_="large"), element("dd", note))
        for name, value, note in cards
    ]
    return element("dl", *shown, class_="cards")


def unit(name: str) -> str:
    """Return what a dataset's number is, with its unit, or that it is in that of the raw files."""
    return SCHEMA[name].meaning.partition(";")[0] if name in SCHEMA else "in the raw files' unit"


def classification(results: Results) -> Section | None:
    """Return confusion matrix, the classes one by one, calibration and curves; None where no classes are learned."""
    found, run = results.metrics, results.table
    if "confusion" not in found or run is None:
        return None
    names = run.classes()
    truth = np.array([names.index(label) for label in run.columns[ACTUAL]])
    said = np.stack([run.floats(PROBABILITY + name) for name in names], axis=1)
    return section(
        "test",
        "Test",
        grid(_confusion(np.array(found["confusion"]), names), _calibration(truth, said)),
        _classes(found, names),
        grid(*_one_against_rest(truth, said, names)),
        paragraph("docs/statistics.md in the project says how to read each of these.", class_="note"),
    )


def _confusion(counts: NDArray[np.int64], names: Sequence[str]) -> Markup:
    """Return counts, rows label and columns prediction, each with its share of the row, which colours it."""
    rows = []
    for name, line in zip(names, counts, strict=True):
        shares = line / max(line.sum(), 1)
        cells = [
            element(
                "td",
                element("strong", f"{count:,}"),
                element("small", percent(share, 0)),
                class_="heat",
                style=f"--share: {share:.0%}",
                title=f"{count:,} of {line.sum():,} shots labelled {name} were predicted as {predicted}: {share:.1%}",
            )
            for predicted, count, share in zip(names, line, shares, strict=True)
        ]
        rows.append([name, *cells, f"{line.sum():,}"])
    return table(
        "Confusion matrix: label (rows) against prediction (columns)", ["", *names, "shots"], rows, "confusion"
    )


def _classes(found: Mapping[str, Any], names: Sequence[str]) -> Markup:
    counts, rows = np.array(found["confusion"]), []
    for value, name in enumerate(names):
        entry, hits = found["classes"][name], int(counts[value, value])
        parts = []
        for of, total in (("precision", counts[:, value].sum()), ("recall", counts[value].sum())):
            low, high = metrics.wilson_interval(hits, int(total))
            parts.append(f"{percent(entry[of])} ({percent(low)} to {percent(high)})" if total else "–")
        rows.append([name, f"{entry['shots']:,}", *parts, number(entry["auc"]), number(entry["average_precision"])])
    headings = (
        "class",
        "shots",
        "precision (95 % interval)",
        "recall (95 % interval)",
        "area under ROC",
        "average precision",
    )
    return table("The classes one by one", headings, rows)


def _calibration(truth: NDArray[np.int64], said: NDArray[np.float64]) -> Markup:
    sure = metrics.calibration(truth, said)
    full = sure.count > 0
    chart = Chart("confidence: the largest probability", "accuracy", (0, 1), (0, 1))
    chart.rule((0, 0), (1, 1))
    chart.points(
        "accuracy with its 95 % interval",
        sure.confidence[full],
        sure.accuracy[full],
        sure.accuracy_low[full],
        sure.accuracy_high[full],
    )
    error = f"expected calibration error {sure.expected_error:.3f}, Brier {sure.brier:.3f}"
    return chart.figure(f"Calibration: {error}", "on the line, a network is right as often as it is sure")


def _one_against_rest(truth: NDArray[np.int64], said: NDArray[np.float64], names: Sequence[str]) -> list[Markup]:
    left = Chart("false positive rate", "true positive rate", (0, 1), (0, 1))
    right = Chart("recall", "precision", (0, 1), (0, 1))
    left.rule((0, 0), (1, 1))
    for value, name in enumerate(names):
        positive = truth == value
        if not 0 < positive.sum() < len(positive):
            continue
        roc, pr = metrics.roc(positive, said[:, value]), metrics.precision_recall(positive, said[:, value])
        left.line(
            f"{name}: area {roc.area:.3f}", roc.false_positive_rate, roc.true_positive_rate, marks=False, style=value
        )
        steps = np.repeat(pr.recall, 2)[:-1], np.repeat(pr.precision, 2)[1:]
        right.line(f"{name}: average {pr.average:.3f}", *steps, marks=False, style=value)
    title = "each class against the rest, by its probability"
    return [left.figure("ROC", title), right.figure("Precision against recall", title)]


def regression(results: Results) -> Section | None:
    """Return prediction against truth of each number that is learned; None where none is."""
    errors, run = results.metrics.get("regression", {}), results.table
    if not errors or run is None:
        return None
    charts = []
    for name in errors:
        truth, said = run.floats(f"{ACTUAL} {name}"), run.floats(f"{PREDICTED} {name}")
        known = np.isfinite(truth)
        if known.any():
            ends = span(truth, said[known])
            chart = Chart("measured", "predicted", ends, ends)
            chart.rule((ends[0], ends[0]), (ends[1], ends[1]))
            chart.cloud(truth, said)
            charts.append(chart.figure(f"{name}: {unit(name)}", f"{known.sum():,} shots; on the line both agree"))
    keys = ("shots", "rms_error", "spread", "mean_error", "mean_absolute_error", "explained")
    rows = [[name, *(number(error[key]) for key in keys)] for name, error in errors.items()]
    headings = ("number", "shots", "r.m.s. error", "spread", "bias", "mean absolute error", "explained")
    numbers = table("The numbers one by one, in the raw files' units", headings, rows)
    return section("numbers", "Numbers", numbers, grid(*charts))
