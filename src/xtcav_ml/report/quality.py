"""The test: how good the network's predictions are."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.data.predictions import ACTUAL, PREDICTED, PROBABILITY
from xtcav_ml.figures import quality as charts
from xtcav_ml.figures.drawing import svg
from xtcav_ml.report.format import number, percent
from xtcav_ml.report.groups import group_charts
from xtcav_ml.report.results import Results
from xtcav_ml.science import metrics

FEW_SHOTS = 50  # below which an r.m.s. error is uncertain by 10 % or more: 1 / sqrt(2 N)
UNCERTAIN = 0.1  # half of an interval: a test set with a wider one is small


def classification_section(results: Results) -> dict[str, Any] | None:
    """Return confusion matrix, calibration and curves (SVG), and a row for each class; None where no classes are learned."""
    run = results.table
    if "confusion" not in results.metrics or run is None:
        return None
    names = run.classes()
    truth = np.array([names.index(label) for label in run.columns[ACTUAL]])
    predicted = np.stack([run.floats(PROBABILITY + name) for name in names], axis=1)
    confusion = np.array(results.metrics["confusion"])
    curves = charts.class_curves(names, truth, predicted)
    in_words = "; ".join(
        f"{name}: " + ", ".join(f"{count} predicted as {other}" for other, count in zip(names, row, strict=True))
        for name, row in zip(names, confusion, strict=True)
    )
    roc, precision_recall = (
        charts.one_against_rest(curves, panels=[panel]) for panel in (charts.roc_curve, charts.precision_recall_curve)
    )
    return {
        "confusion": svg(charts.confusion_matrix(confusion, names), f"Confusion matrix, label by label. {in_words}"),
        "calibration": _calibration(results.metrics),
        "roc": svg(roc, "ROC of each class against the rest; areas are in the table"),
        "precision_recall": svg(precision_recall, "Precision against recall; averages are in the table"),
        "classes": _classes(results.metrics, names),
        "uncertain": _uncertain(confusion, names),
        "metrics": results.metrics,
        "groups": group_charts(run, results.raw[0] if results.raw else None),
    }


def _calibration(values: Mapping[str, Any]) -> str | None:
    """Return the chart (SVG) of the calibration that evaluate found; None in results of before it wrote that."""
    bins = values.get("calibration")
    if bins is None:
        return None
    arrays: Any = {name: np.array(entry, np.float64) for name, entry in bins.items()}  # None, of an empty bin, is NaN
    found = metrics.Calibration(**arrays, expected_error=values["expected_calibration_error"], brier=values["brier"])
    return svg(charts.calibration_curve(found), "Calibration: accuracy by confidence")


def _uncertain(confusion: NDArray[np.int64], names: Sequence[str]) -> list[str]:
    """Return the classes whose recall is known to no better than UNCERTAIN, with their shots and half of its interval."""
    lines = []
    for value, name in enumerate(names):
        shots = int(confusion[value].sum())
        low, high = metrics.wilson_interval(int(confusion[value, value]), shots)
        if shots and (high - low) / 2 > UNCERTAIN:
            lines.append(f"{name} ({shots:,} shots): ±{50 * (high - low):.0f} points")
    return lines


def _classes(values: Mapping[str, Any], names: Sequence[str]) -> list[list[str]]:
    """Return of each class: shots, precision and recall with their intervals, areas under the curves, its prediction sets."""
    counts, rows = np.array(values["confusion"]), []
    for value, name in enumerate(names):
        entry, hits = values["classes"][name], int(counts[value, value])
        shares = []
        for share, total in ((entry["precision"], counts[:, value].sum()), (entry["recall"], counts[value].sum())):
            low, high = metrics.wilson_interval(hits, int(total))
            shares.append(f"{percent(share)} ({percent(low)} to {percent(high)})" if total else "–")
        areas = number(entry["auc"]), number(entry["average_precision"])
        rows.append([name, f"{entry['shots']:,}", *shares, *areas, *_coverage(entry), number(entry.get("set_size"))])
    return rows


def _coverage(entry: Mapping[str, Any]) -> list[str]:
    """Return how often a stated set or interval was right, with its interval, and what is likely; dashes if unknown."""
    found = _range(entry, "coverage")
    found = f"{percent(entry['coverage'])} ({found})" if entry.get("coverage") is not None else percent(None)
    return [found, _range(entry, "likely_coverage")]


def _range(entry: Mapping[str, Any], name: str) -> str:
    if entry.get(f"{name}_low") is None:
        return percent(None)
    return f"{percent(entry[f'{name}_low'])} to {percent(entry[f'{name}_high'])}"


def regression_section(results: Results) -> dict[str, Any] | None:
    """Return a row and a chart (SVG) of each number that is learned; None where none is."""
    errors, run = results.metrics.get("regression", {}), results.table
    if not errors or run is None:
        return None
    drawn = {}
    for name, error in errors.items():
        if error["shots"]:
            pair = np.array(run.floats(f"{ACTUAL} {name}")), np.array(run.floats(f"{PREDICTED} {name}"))
            description = f"{name}: predicted against measured, {error['shots']:,} shots; on the line they agree"
            drawn[name] = svg(charts.regression_scatter({name: pair}), description)
    few = [f"{name} ({error['shots']:,} shots)" for name, error in errors.items() if error["shots"] < FEW_SHOTS]
    keys = ("shots", "rms_error", "spread", "mean_error", "mean_absolute_error", "explained")
    return {
        "rows": [
            [name, *(number(error[key]) for key in keys), number(error.get("half_width")), *_coverage(error)]
            for name, error in errors.items()
        ],
        "coverage": results.metrics.get("stated_coverage"),
        "charts": drawn,
        "few": few,
    }
