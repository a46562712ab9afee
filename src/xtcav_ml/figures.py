"""Every chart, once: a function returns it as a Figure, `write_png` writes it to a file, `svg` puts it into a page.

The only module with matplotlib. Bytes depend on nothing but what is shown.
"""

import html
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from xtcav_ml.science import metrics
from xtcav_ml.system import atomic

Picture = tuple[NDArray[np.generic], str]  # a frame (rows, columns) and its caption

Overlay = tuple[NDArray[np.generic], NDArray[np.floating], str]
"""A frame (rows, columns), a map over it (0 to 1, of any rows and columns) and the caption."""

Item = TypeVar("Item")

LEAST_RANGE = 1e-3  # of a colour scale, in the unit of the pixels, where all are equal
PAPER, INK, MUTED, HEAT = "#ffffff", "#222222", "#8a8a8a", "#2171b5"
TRAIN, VALIDATION = "#0072b2", "#d55e00"  # Okabe and Ito's blue and vermilion, which all eyes can tell apart
SERIES_COLOURS = (TRAIN, VALIDATION, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)
HEAT_SHARE = 0.65  # of the colour in the fullest cell: ink must be legible on it
DASHES = ("-", "--", ":", "-.")  # of the series of a chart, which thus differ without colour too

VARIABLES = {PAPER: "var(--paper)", INK: "var(--ink)", "#000000": "var(--ink)", MUTED: "var(--muted)"}
VARIABLES |= {HEAT: "var(--heat)"} | {colour: f"var(--s{i})" for i, colour in enumerate(SERIES_COLOURS[:-1])}
"""The variable of a page's style sheet that replaces a colour."""

SUPERFLUOUS = (
    "<metadata>.*?</metadata>",
    "<style.*?</style>",
    "<!--.*?-->",
    r"\n\s*",
    r' id="\D[\w.]*_\d+"',  # names of parts, to which nothing refers
    r"; font-family: [^;\"]*",
    r' transform="rotate\(-0 [^"]*"',
)
"""Patterns of matplotlib's SVG that are no part of the drawing: the fonts are the page's."""

STYLE: Any = {name: value for name, value in mpl.rcParamsDefault.items() if name != "backend"}  # no matplotlibrc counts
STYLE |= {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "font.size": 10,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 110,
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a label with two dollar signs is a label
}
MOST_MARKS, MOST_POINTS = 150, 2000  # of a series: a longer line has no marks, a larger cloud is thinned out


@mpl.rc_context(STYLE)
def write_png(path: Path, figure: Figure) -> None:
    """Write a figure to a PNG."""
    with atomic.replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


@mpl.rc_context(STYLE)
def svg(figure: Figure, description: str) -> str:
    """Return a figure as an SVG element for a page whose style sheet defines VARIABLES; `description` is read aloud.

    Text is text, with class "on" where it stands on a colour. Ids are unique in a page whose descriptions are.
    """
    whole = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": description}):
        figure.savefig(whole, format="svg", transparent=True, metadata={"Date": None})
    width, height = figure.get_size_inches() * 72
    size = f'width="{width:.0f}pt" viewBox="0 0 {width:g} {height:g}"'
    text = re.sub(rf"(?s)^.*?<svg.*?>|{'|'.join(SUPERFLUOUS)}", "", whole.getvalue())
    text = text.replace(' id="on"', ' class="on"').replace("xlink:href", "href")
    text = re.sub("(?<=: )#[0-9a-f]{6}", lambda colour: VARIABLES.get(colour[0], colour[0]), text)
    return f'<svg class="chart" {size} role="img" aria-label="{html.escape(description)}">{text}'


def _row(count: int, width: float, height: float) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure of `count` axes side by side, of `width` and `height` each in inches."""
    figure = Figure(figsize=(width * count, height))
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def _in_legend(name: str) -> str:
    """Return a name that a legend shows: matplotlib leaves out those that begin with an underscore."""
    return "\u200b" + name if name.startswith("_") else name  # a space of no width


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
        axes.barh(names, shares[:, i], left=left, color=colour, edgecolor=PAPER, label=_in_legend(label))
        for row, share in enumerate(shares[:, i]):
            if share > 0.02 * len(f"{counts[row, i]:,}"):
                shown: Any = {"ha": "center", "va": "center", "color": PAPER, "gid": "on"}
                axes.text(left[row] + share / 2, row, f"{counts[row, i]:,}", **shown)
    axes.set(xlim=(0, 1), xticks=[])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.legend(loc="outside upper left", ncols=4, handlelength=1)
    return figure


CURVE_STYLES = {
    "accuracy": "accuracy",
    "cross_entropy": "cross-entropy, nats",
    "squared_error": "squared error / variance",
    "loss": "loss, with all its terms",
    "learning_rate": "learning rate",
    "gradient_norm": "gradient norm (last step)",
}
"""Values of an epoch that are drawn, and the labels of their axes."""

MEASURES = ("accuracy", "cross_entropy", "squared_error")  # the curves that measure the network


def curves_of(history: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the curves that the epochs have; the loss only where it is more than one of the others."""
    first = history[0]
    whole = "regularization" in first or {"val_cross_entropy", "val_squared_error"} <= first.keys()
    return [name for name in CURVE_STYLES if {name, f"val_{name}"} & first.keys() and (name != "loss" or whole)]


@mpl.rc_context(STYLE)
def learning_curves(history: Sequence[Mapping[str, float]], best_epoch: int, names: Sequence[str]) -> Figure:
    """Draw values of `curves_of` against the epoch, of both sets where both have them, with the epoch that was kept."""
    figure, row = _row(len(names), 4.5, 3.6)
    epochs = np.arange(1, len(history) + 1)
    marks: Any = {"marker": "o" if len(history) <= MOST_MARKS else None, "markersize": 3}
    for axes, name in zip(row, names, strict=True):
        both = {"training": (f"train_{name}", TRAIN, "-"), "validation": (f"val_{name}", VALIDATION, "--")}
        for label, (key, colour, dash) in (both if f"val_{name}" in history[0] else {"": (name, TRAIN, "-")}).items():
            values = [epoch.get(key, np.nan) for epoch in history]
            axes.plot(epochs, values, color=colour, linestyle=dash, label=label or None, **marks)
        axes.axvline(best_epoch, color=MUTED, linewidth=1, linestyle=":", label=f"kept: epoch {best_epoch}")
        axes.set(xlabel="epoch", ylabel=CURVE_STYLES[name])
        if name not in MEASURES:
            axes.set_ylim(bottom=0)
        axes.legend()
    return figure


@mpl.rc_context(STYLE)
def regression_scatter(numbers: Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating]]]) -> Figure:
    """Draw prediction against truth of each number (truth and prediction (N,), NaN left out), and the line where they agree."""
    figure, row = _row(len(numbers), 4.2, 4)
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
    above.errorbar(x, y, ends, fmt="o", color=TRAIN, markersize=4, linewidth=1, label="test shots, 95 % interval")
    above.set(ylabel="accuracy", title=title, ylim=(-0.02, 1.02))
    above.legend(loc="lower right")
    below.bar(bins.edges[:-1], bins.count, np.diff(bins.edges), align="edge", color=TRAIN, edgecolor="white")
    below.set(xlabel="confidence: the largest probability", ylabel="shots", xlim=(-0.02, 1.02))
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
    _unit_square(axes, "false positive rate", "true positive rate", "lower right")


def precision_recall_curve(axes: Axes, curves: Curves) -> None:
    """Draw precision against recall, a panel of `one_against_rest`."""
    for name, _, curve, look in _measured(curves):
        label = f"{name}: average {curve.average:.3f}"
        axes.step(curve.recall, curve.precision, where="pre", label=label, **look)
    _unit_square(axes, "recall", "precision", "lower left")


def _measured(curves: Curves) -> Iterator[tuple[str, metrics.Roc, metrics.PrecisionRecall, Any]]:
    """Yield the classes that have shots of their own and of others, each with the look of its line."""
    for i, (name, found, precision) in enumerate(curves):
        if np.isfinite(found.area):
            yield (
                _in_legend(name),
                found,
                precision,
                {"color": SERIES_COLOURS[i % len(SERIES_COLOURS)], "linestyle": DASHES[i % len(DASHES)]},
            )


def _unit_square(axes: Axes, x: str, y: str, legend: Any) -> None:
    axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc=legend, frameon=True, edgecolor="none")


@mpl.rc_context(STYLE)
def one_against_rest(
    curves: Curves, title: str = "", panels: Sequence[Panel] = (roc_curve, precision_recall_curve)
) -> Figure:
    """Draw the curves of each class against the rest, the panels side by side."""
    figure, row = _row(len(panels), 5, 4.6)
    for axes, panel in zip(row, panels, strict=True):
        panel(axes, curves)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


@mpl.rc_context(STYLE)
def frame_sheet(rows: Sequence[tuple[str, Sequence[Picture]]], title: str, *, one_scale: bool = True) -> Figure:
    """Draw rows of frames (rows energy, columns time), each row with its name, each frame with its caption.

    On one scale, from 0 to the brightest 0.1 % of the brightest frame, or each on its own between its 1st and 99.9th
    percentile.
    """
    brightest = _brightest(frame for _, frames in rows for frame, _ in frames)

    def draw(axes: Axes, picture: Picture) -> str:
        frame, caption = picture
        pixels = frame.astype(np.float32)
        low, high = (0.0, brightest) if one_scale else np.quantile(pixels, [0.01, 0.999])
        axes.imshow(pixels, cmap="magma", vmin=low, vmax=max(high, low + LEAST_RANGE))
        return caption

    return _sheet(rows, title, draw)


@mpl.rc_context(STYLE)
def overlay_sheet(rows: Sequence[tuple[str, Sequence[Overlay]]], title: str) -> Figure:
    """Draw rows of frames in grey, on one scale, each row with its name, each frame with its map and caption."""
    brightest = _brightest(frame for _, overlays in rows for frame, _, _ in overlays)

    def draw(axes: Axes, overlay: Overlay) -> str:
        frame, heat, caption = overlay
        height, width = frame.shape
        axes.imshow(frame.astype(np.float32), cmap="gray_r", vmin=0, vmax=max(brightest, LEAST_RANGE))
        over: Any = {"extent": (-0.5, width - 0.5, height - 0.5, -0.5), "interpolation": "bilinear"}
        axes.imshow(heat, cmap="YlOrRd", vmin=0, vmax=1, alpha=0.7 * heat, **over)
        return caption

    return _sheet(rows, title, draw)


def _brightest(frames: Iterable[NDArray[np.generic]]) -> float:
    """Return the level that the brightest 0.1 % of the brightest frame reach; 0 if there are none."""
    return max((float(np.quantile(frame.astype(np.float32), 0.999)) for frame in frames), default=0.0)


def _sheet(rows: Sequence[tuple[str, Sequence[Item]]], title: str, draw: Callable[[Axes, Item], str]) -> Figure:
    """Draw rows of items, each row with its name; `draw` draws one and returns its caption."""
    columns = max([len(items) for _, items in rows] + [1])
    figure = Figure(figsize=(1.9 * columns + 0.6, 2.3 * len(rows) + 0.5))
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, items) in zip(grid, rows, strict=True):
        for axes in line:
            axes.set_axis_off()
        for axes, item in zip(line, items, strict=False):
            axes.set_title(draw(axes, item), fontsize=8, color=INK)
        beside = line[0].transAxes
        line[0].text(-0.08, 0.5, name, transform=beside, rotation=90, ha="right", va="center", fontsize=11)
    figure.suptitle(title, fontsize=11)
    return figure


@mpl.rc_context(STYLE)
def usage(samples: Sequence[Mapping[str, float]]) -> Figure:
    """Draw a process tree's usage: rows of time_s, memory_mb, cpu_time_s, threads, processes, read_mb, written_mb, gpu*."""
    time = np.array([sample["time_s"] for sample in samples])
    spent = np.maximum(np.diff(time), 1e-9)

    def series(name: str) -> NDArray[np.float64]:
        return np.array([sample.get(name, np.nan) for sample in samples])

    def rate(name: str) -> NDArray[np.float64]:
        return np.concatenate([[0.0], np.maximum(np.diff(series(name)), 0) / spent])

    gpus = sorted({name.split("_")[0] for sample in samples for name in sample if name.startswith("gpu")})
    panels: list[tuple[str, dict[str, NDArray[np.float64]]]] = [
        ("memory, GB", {"": series("memory_mb") / 1e3}),
        ("busy cores", {"": rate("cpu_time_s")}),
        ("count", {name: series(name) for name in ("threads", "processes")}),
        ("I/O, MB/s", {"read": rate("read_mb"), "written": rate("written_mb")}),
    ]
    if gpus:
        panels.append(("GPU memory, GB", {gpu: series(f"{gpu}_memory_mb") / 1e3 for gpu in gpus}))
        panels.append(("GPU busy, %", {gpu: series(f"{gpu}_utilization_percent") for gpu in gpus}))
    figure = Figure(figsize=(8, 0.6 + 1.3 * len(panels)))
    for axes, (label, lines) in zip(figure.subplots(len(panels), sharex=True), panels, strict=True):
        for (name, values), colour in zip(lines.items(), SERIES_COLOURS, strict=False):
            axes.plot(time, values, color=colour, lw=1.2, label=name or None, drawstyle="steps-pre")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        if len(lines) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    axes.set_xlabel("s")
    return figure


@mpl.rc_context(STYLE)
def search_history(trials: Sequence[tuple[int, float | None, str]]) -> Figure:
    """Draw the score of each trial (number, score or None, state name) and the best so far."""
    figure = Figure(figsize=(7, 3.8))
    axes = figure.add_subplot()
    done = [(number, value) for number, value, state in trials if state == "COMPLETE" and value is not None]
    numbers, values = [number for number, _ in done], [value for _, value in done]
    axes.plot(numbers, values, "o", color=TRAIN, label="completed")
    axes.step(numbers, np.maximum.accumulate(values), where="post", color=VALIDATION, label="best so far")
    ended = [number for number, _, state in trials if state != "COMPLETE"]
    if ended:
        axes.plot(ended, [min(values)] * len(ended), "x", color=MUTED, label="pruned or failed")
    axes.set(xlabel="trial", ylabel="validation score (accuracy of the classes)", title="search history")
    axes.legend()
    return figure


@mpl.rc_context(STYLE)
def importances(shares: Mapping[str, float]) -> Figure:
    """Draw each parameter's share of the variance of the score."""
    figure = Figure(figsize=(7, 0.9 + 0.4 * len(shares)))
    axes = figure.add_subplot()
    names = list(shares)[::-1]
    bars = axes.barh(names, [shares[name] for name in names], color=TRAIN)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set(xlabel="importance for the validation score", xlim=(0, 1.1 * max(shares.values(), default=1)))
    return figure
