"""The test: how good the network's predictions are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.schema import EVENT_KEY
from xtcav_ml.data.predictions import (
    ACTUAL,
    HIGHEST,
    INCLUDED,
    LOWEST,
    PREDICTED,
    PROBABILITY,
    RUN_KEY,
    Predictions,
)
from xtcav_ml.figures import quality as charts
from xtcav_ml.figures.drawing import svg
from xtcav_ml.report.format import number, percent
from xtcav_ml.report.groups import group_charts
from xtcav_ml.report.results import Results
from xtcav_ml.science import blocks, metrics

Interval = Callable[[NDArray[np.bool_], NDArray[np.bool_]], tuple[float, float]]
"""Of which of all shots (N,) something is true, and which of them count -> the interval of its share."""

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
    said = np.array([names.index(label) for label in run.columns[PREDICTED]])
    confusion, interval = np.array(results.metrics["confusion"]), _interval(results, run)
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
        "classes": [
            _class(results.metrics["classes"][name], name, truth == value, said == value, run, interval)
            for value, name in enumerate(names)
        ],
        "uncertain": _uncertain(truth, said, names, interval),
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


def _interval(results: Results, run: Predictions) -> Interval:
    """Return what gives the interval of a share: by shots that are independent, else by blocks of time, as of the accuracy."""
    made, own = results.recorded, results.metrics.get("accuracy_interval")
    if own == "shots" or (own is None and (made is None or made.simulated)):
        return lambda true, counted: metrics.wilson_interval(int(true[counted].sum()), int(counted.sum()))
    keys = np.array([run.floats(name) for name in (*EVENT_KEY[:2], *RUN_KEY) if name in run.columns])

    def by_blocks(true: NDArray[np.bool_], counted: NDArray[np.bool_]) -> tuple[float, float]:
        found = blocks.blocked_interval(true[counted], blocks.of_time(*keys[:, counted]))
        return found.low, found.high

    return by_blocks


def _uncertain(
    truth: NDArray[np.int64], said: NDArray[np.int64], names: Sequence[str], interval: Interval
) -> list[str]:
    """Return the classes whose recall is known to no better than UNCERTAIN, with their shots and half of its interval."""
    lines = []
    for value, name in enumerate(names):
        members = truth == value
        low, high = interval(said == value, members)
        if members.any() and (high - low) / 2 > UNCERTAIN:
            lines.append(f"{name} ({members.sum():,} shots): ±{50 * (high - low):.0f} points")
    return lines


def _class(
    entry: Mapping[str, Any],
    name: str,
    members: NDArray[np.bool_],
    said: NDArray[np.bool_],
    run: Predictions,
    interval: Interval,
) -> list[str]:
    """Return of a class: shots, precision and recall with their intervals, areas under the curves, its prediction sets."""
    shares = []
    for share, counted in ((entry["precision"], said), (entry["recall"], members)):
        low, high = interval(said & members, counted)
        shares.append(f"{percent(share)} ({percent(low)} to {percent(high)})" if counted.any() else "–")
    areas = number(entry["auc"]), number(entry["average_precision"])
    if INCLUDED + name in run.columns:
        entry = _with_interval(entry, np.array(run.floats(INCLUDED + name)) > 0, members, interval)
    return [name, f"{entry['shots']:,}", *shares, *areas, *_coverage(entry), number(entry.get("set_size"))]


def _with_interval(
    entry: Mapping[str, Any], true: NDArray[np.bool_], counted: NDArray[np.bool_], interval: Interval
) -> Mapping[str, Any]:
    """Return an entry of evaluation.json with the interval of its coverage as `interval` gives it: there it is by shots."""
    if entry.get("coverage") is None:
        return entry
    return {**entry, **dict(zip(("coverage_low", "coverage_high"), interval(true, counted), strict=True))}


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
    interval = _interval(results, run)
    few = [f"{name} ({error['shots']:,} shots)" for name, error in errors.items() if error["shots"] < FEW_SHOTS]
    keys = ("shots", "rms_error", "spread", "mean_error", "mean_absolute_error", "explained")
    return {
        "rows": [
            [
                *(name, *(number(error[key]) for key in keys), number(error.get("half_width"))),
                *_coverage(_number(error, name, run, interval)),
            ]
            for name, error in errors.items()
        ],
        "coverage": results.metrics.get("stated_coverage"),
        "charts": drawn,
        "few": few,
    }


def _number(error: Mapping[str, Any], name: str, run: Predictions, interval: Interval) -> Mapping[str, Any]:
    """Return the entry of a number with the interval of how often its predictions' intervals hold it."""
    if LOWEST + name not in run.columns:
        return error
    truth, low, high = (np.array(run.floats(column)) for column in (f"{ACTUAL} {name}", LOWEST + name, HIGHEST + name))
    return _with_interval(error, (low <= truth) & (truth <= high), np.isfinite(truth), interval)
