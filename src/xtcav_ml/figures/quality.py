"""The test: how good predictions are, and the labels they are compared with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from xtcav_ml.figures.drawing import (
    DASHES,
    HEAT,
    INK,
    MUTED,
    PAPER,
    SERIES_COLOURS,
    STYLE,
    TRAIN,
    in_legend,
    legend_above,
    side_by_side,
)
from xtcav_ml.science import metrics
from xtcav_ml.science.thresholds import INTERVAL

HEAT_SHARE = 0.65  # of the colour in the fullest cell: ink must be legible on it
MOST_POINTS = 2000  # of a cloud: a larger one is thinned out


@mpl.rc_context(STYLE)
def confusion_matrix(confusion: NDArray[np.int64], classes: Sequence[str], title: str = "") -> Figure:
    """Draw counts (rows truth, columns prediction), coloured by the share of the row."""
    width = max(0.95, 0.09 * max(map(len, classes)))
    figure = Figure(figsize=(1.6 + width * len(classes), 1.5 + 0.8 * len(classes)))
    axes = figure.add_subplot()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    for (row, column), count in np.ndenumerate(confusion):
        share = shares[row, column]
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color=HEAT, alpha=HEAT_SHARE * share, linewidth=0))
        axes.text(column, row, f"{count}\n{share:.0%}", ha="center", va="center", color=INK, fontsize=9)
    ends = (-0.5, len(classes) - 0.5)
    axes.set(xlim=ends, ylim=ends[::-1], xlabel="predicted", ylabel="label", title=title)
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


@mpl.rc_context(STYLE)
def label_shares(sets: Mapping[str, Mapping[str, int]]) -> Figure:
    """Draw a bar for each set (shots by label, the same labels in all): the share of each label, with its shots."""
    figure = Figure(figsize=(5.6, 0.9 + 0.45 * len(sets)))
    axes = figure.add_subplot()
    names = list(sets)[::-1]
    counts = np.array([list(sets[name].values()) for name in names])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for i, label in enumerate(next(iter(sets.values()))):
        left, colour = shares[:, :i].sum(axis=1), SERIES_COLOURS[i % len(SERIES_COLOURS)]
        axes.barh(names, shares[:, i], left=left, color=colour, edgecolor=PAPER, label=in_legend(label))
        for row, share in enumerate(shares[:, i]):
            if share > 0.02 * len(f"{counts[row, i]:,}"):
                shown: Any = {"ha": "center", "va": "center", "color": PAPER, "gid": "on"}
                axes.text(left[row] + share / 2, row, f"{counts[row, i]:,}", **shown)
    axes.set(xlim=(0, 1), xticks=[])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.legend(loc="outside upper left", ncols=4, handlelength=1)
    return figure


@mpl.rc_context(STYLE)
def regression_scatter(numbers: Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating]]]) -> Figure:
    """Draw prediction against truth of each number (truth and prediction (N,), NaN left out), and the line where they agree."""
    figure, row = side_by_side(len(numbers), 4.2, 4)
    for axes, (name, (truth, predicted)) in zip(row, numbers.items(), strict=True):
        measured = np.flatnonzero(np.isfinite(truth))
        drawn = measured[:: len(measured) // MOST_POINTS + 1]
        axes.plot(truth[drawn], predicted[drawn], ".", color=TRAIN, markersize=3, alpha=0.6)
        if len(measured):
            ends = [float(truth[measured].min()), float(truth[measured].max())]
            axes.plot(ends, ends, color=MUTED, linewidth=1)
        axes.set(xlabel="measured", ylabel="predicted", title=f"{name}, {len(measured):,} shots")
    return figure


@mpl.rc_context(STYLE)
def calibration_curve(bins: metrics.Calibration) -> Figure:
    """Draw accuracy with its interval against confidence, the line where they agree, and below the number of shots."""
    title = f"expected calibration error {bins.expected_error:.3f}, Brier {bins.brier:.3f}"
    figure = Figure(figsize=(4.6, 5))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    full = bins.count > 0
    x, y = bins.confidence[full], bins.accuracy[full]
    ends = np.abs(np.stack([bins.accuracy_low, bins.accuracy_high])[:, full] - y)
    above.plot([0, 1], [0, 1], color=MUTED, linewidth=1)
    above.errorbar(x, y, ends, fmt="o", color=TRAIN, markersize=4, linewidth=1)
    above.set(ylabel=f"accuracy, {INTERVAL}", title=title, ylim=(-0.02, 1.02))
    below.bar(bins.edges[:-1], bins.count, np.diff(bins.edges), align="edge", color=TRAIN, edgecolor=PAPER)
    below.set(xlabel="confidence: the largest probability", ylabel="shots", xlim=(-0.02, 1.02))
    return figure


@mpl.rc_context(STYLE)
def accuracy_by(groups: Mapping[str, tuple[int, int]], what: str) -> Figure:
    """Draw the accuracy of groups of shots (right ones and all by name) with its interval; `what` they are grouped by."""
    figure = Figure(figsize=(4.6, 0.9 + 0.36 * len(groups)))
    axes = figure.add_subplot()
    names = [f"{name}: {shots:,} shots" for name, (_, shots) in groups.items()]
    rates = np.array([right / max(shots, 1) for right, shots in groups.values()])
    ends = np.array([metrics.wilson_interval(*group) for group in groups.values()]).T
    axes.errorbar(rates, range(len(groups)), xerr=np.abs(ends - rates), fmt="o", color=TRAIN, markersize=4, linewidth=1)
    axes.set_yticks(range(len(groups)), names)
    axes.set(xlim=(-0.02, 1.02), ylim=(len(groups) - 0.5, -0.5), xlabel=f"accuracy, {INTERVAL}", ylabel=what)
    return figure


Curves = Sequence[tuple[str, metrics.Roc, metrics.PrecisionRecall]]
"""Of each class: its name, and the shots that a threshold on its probability selects."""

Panel = Callable[[Axes, Curves], None]


def class_curves(names: Sequence[str], labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> Curves:
    """Return the curves of each class against the rest, from labels (N,) and probabilities (N, classes)."""
    pairs = {name: (labels == value, probabilities[:, value]) for value, name in enumerate(names)}
    return [(name, metrics.roc(*pair), metrics.precision_recall(*pair)) for name, pair in pairs.items()]


def roc_curve(axes: Axes, curves: Curves) -> None:
    """Draw the receiver operating characteristic, a panel of `one_against_rest`."""
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1)
    for name, curve, _, look in _measured(curves):
        label = f"{name}: area {curve.area:.3f}"
        axes.plot(curve.false_positive_rate, curve.true_positive_rate, label=label, **look)
    _unit_square(axes, "false positive rate", "true positive rate")


def precision_recall_curve(axes: Axes, curves: Curves) -> None:
    """Draw precision against recall, a panel of `one_against_rest`."""
    for name, _, curve, look in _measured(curves):
        label = f"{name}: average {curve.average:.3f}"
        axes.step(curve.recall, curve.precision, where="pre", label=label, **look)
    _unit_square(axes, "recall", "precision")


def _measured(curves: Curves) -> Iterator[tuple[str, metrics.Roc, metrics.PrecisionRecall, Any]]:
    """Yield the classes that have shots of their own and of others, each with the look of its line."""
    for i, (name, found, precision) in enumerate(curves):
        if np.isfinite(found.area):
            yield (
                in_legend(name),
                found,
                precision,
                {"color": SERIES_COLOURS[i % len(SERIES_COLOURS)], "linestyle": DASHES[i % len(DASHES)]},
            )


def _unit_square(axes: Axes, x: str, y: str) -> None:
    axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    legend_above(axes, fontsize=9)


@mpl.rc_context(STYLE)
def one_against_rest(
    curves: Curves, title: str = "", panels: Sequence[Panel] = (roc_curve, precision_recall_curve)
) -> Figure:
    """Draw the curves of each class against the rest, the panels side by side."""
    figure, row = side_by_side(len(panels), 4.6, 4.9)
    for axes, panel in zip(row, panels, strict=True):
        panel(axes, curves)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure
