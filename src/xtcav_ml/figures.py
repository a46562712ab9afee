"""The only module with matplotlib: pictures, to files whose bytes depend on nothing but what they show."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xtcav_ml.science import metrics
from xtcav_ml.system import atomic

Picture = tuple[NDArray[np.generic], str]
"""A frame (rows, columns) and its caption."""

Overlay = tuple[NDArray[np.generic], NDArray[np.floating], str]
"""A frame (rows, columns), a map over it (0 to 1, of any rows and columns) and the caption."""

Item = TypeVar("Item")

LEAST_RANGE = 1e-3
"""Of a colour scale, in the unit of the pixels, where all are equal."""

INK, MUTED = "#222222", "#8a8a8a"
TRAIN, VALIDATION = "#0072b2", "#d55e00"  # Okabe and Ito's blue and vermilion, told apart by all eyes
COLOURS = (TRAIN, VALIDATION, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)
STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "font.size": 10,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 110,
}


def confusion_matrix(path: Path, confusion: NDArray[np.int64], classes: Sequence[str], title: str) -> None:
    """Draw counts (rows truth, columns prediction), coloured by the share of the row."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.6 + 0.95 * len(classes), 1.5 + 0.8 * len(classes)))
        axes = figure.add_subplot()
        shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(confusion):
            colour = "white" if shares[row, column] > 0.5 else INK
            text = f"{count}\n{shares[row, column]:.0%}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
        axes.set_xticks(range(len(classes)), classes)
        axes.set_yticks(range(len(classes)), classes)
        axes.set(xlabel="predicted", ylabel="label", title=title)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        _save(figure, path)


CURVES = {"accuracy": "accuracy", "cross_entropy": "cross-entropy, nats", "squared_error": "squared error, spread^2"}
"""Values of an epoch that are drawn, where they are there, and what is written at their axis."""


def learning_curves(path: Path, history: Sequence[Mapping[str, float]], best_epoch: int) -> None:
    """Draw what both sets were worth against the epoch, with the epoch that was kept."""
    with mpl.rc_context(STYLE):
        names = [name for name in CURVES if f"val_{name}" in history[0]]
        figure = Figure(figsize=(4.5 * len(names), 3.6))
        epochs = np.arange(1, len(history) + 1)
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            for key, label, colour in ((f"train_{name}", "training", TRAIN), (f"val_{name}", "validation", VALIDATION)):
                axes.plot(epochs, [row[key] for row in history], color=colour, marker="o", markersize=3, label=label)
            axes.axvline(best_epoch, color=MUTED, linewidth=1, linestyle=":", label=f"kept: epoch {best_epoch}")
            axes.set(xlabel="epoch", ylabel=CURVES[name])
            axes.legend()
        _save(figure, path)


def regression(path: Path, numbers: Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating]]]) -> None:
    """Draw prediction against truth of each number (truth and prediction (N,), NaN left out), and the line where they agree."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.2 * len(numbers), 4))
        for axes, (name, (truth, predicted)) in zip(
            figure.subplots(1, len(numbers), squeeze=False)[0], numbers.items(), strict=True
        ):
            known = np.isfinite(truth)
            axes.plot(truth[known], predicted[known], ".", color=TRAIN, markersize=3, alpha=0.6)
            if known.any():
                ends = [float(truth[known].min()), float(truth[known].max())]
                axes.plot(ends, ends, color=MUTED, linewidth=1)
            axes.set(xlabel="measured", ylabel="predicted", title=f"{name}, {known.sum():,} shots")
        _save(figure, path)


def calibration(path: Path, found: metrics.Calibration, title: str) -> None:
    """Draw accuracy with its interval against confidence, the line where they agree, and below how many shots there are."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 5))
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        full = found.count > 0
        x, y = found.confidence[full], found.accuracy[full]
        ends = np.abs(np.stack([found.accuracy_low, found.accuracy_high])[:, full] - y)
        above.plot([0, 1], [0, 1], color=MUTED, linewidth=1)
        above.errorbar(x, y, ends, fmt="o", color=TRAIN, markersize=4, linewidth=1, label="test shots, 95 % interval")
        above.set(ylabel="accuracy", title=title, ylim=(-0.02, 1.02))
        above.legend(loc="lower right")
        below.bar(found.edges[:-1], found.count, np.diff(found.edges), align="edge", color=TRAIN, edgecolor="white")
        below.set(xlabel="confidence: the largest probability", ylabel="shots", xlim=(-0.02, 1.02))
        _save(figure, path)


def one_against_rest(
    path: Path, curves: Sequence[tuple[str, metrics.Roc, metrics.PrecisionRecall]], title: str
) -> None:
    """Draw, class by class (name, curves), what a threshold on its probability finds: ROC, and precision against recall."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.6))
        left, right = figure.subplots(1, 2)
        left.plot([0, 1], [0, 1], color=MUTED, linewidth=1)
        for i, (name, roc, pr) in enumerate(curves):
            look: Any = {"color": COLOURS[i % len(COLOURS)], "linestyle": ("-", "--", ":")[i // len(COLOURS) % 3]}
            left.plot(roc.false_positive_rate, roc.true_positive_rate, label=f"{name}: area {roc.area:.3f}", **look)
            right.step(pr.recall, pr.precision, where="pre", label=f"{name}: average {pr.average:.3f}", **look)
        left.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        right.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        left.legend(loc="lower right", frameon=True, edgecolor="none")
        right.legend(loc="lower left", frameon=True, edgecolor="none")
        figure.suptitle(title, fontsize=11)
        _save(figure, path)


def frame_sheet(
    path: Path, rows: Sequence[tuple[str, Sequence[Picture]]], title: str, *, one_scale: bool = True
) -> None:
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

    _sheet(path, rows, title, draw)


def overlay_sheet(path: Path, rows: Sequence[tuple[str, Sequence[Overlay]]], title: str) -> None:
    """Draw rows of frames in grey, on one scale, each row with its name, each frame with its map and caption."""
    brightest = _brightest(frame for _, overlays in rows for frame, _, _ in overlays)

    def draw(axes: Axes, overlay: Overlay) -> str:
        frame, found, caption = overlay
        height, width = frame.shape
        axes.imshow(frame.astype(np.float32), cmap="gray_r", vmin=0, vmax=max(brightest, LEAST_RANGE))
        over: Any = {"extent": (-0.5, width - 0.5, height - 0.5, -0.5), "interpolation": "bilinear"}
        axes.imshow(found, cmap="YlOrRd", vmin=0, vmax=1, alpha=0.7 * found, **over)
        return caption

    _sheet(path, rows, title, draw)


def _brightest(frames: Iterable[NDArray[np.generic]]) -> float:
    """Return the level that the brightest 0.1 % of the brightest frame reach; 0 if there are none."""
    return max((float(np.quantile(frame.astype(np.float32), 0.999)) for frame in frames), default=0.0)


def _sheet(
    path: Path, rows: Sequence[tuple[str, Sequence[Item]]], title: str, draw: Callable[[Axes, Item], str]
) -> None:
    """Draw rows of items, each row with its name; `draw` draws one and returns its caption."""
    with mpl.rc_context(STYLE):
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
        _save(figure, path)


def usage(path: Path, samples: Sequence[Mapping[str, float]]) -> None:
    """Draw what a process tree used: rows of time_s, memory_mb, cpu_time_s, threads, processes, read_mb, written_mb, gpu*."""
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
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 0.6 + 1.3 * len(panels)))
        for place, (axes, (label, lines)) in enumerate(
            zip(figure.subplots(len(panels), sharex=True), panels, strict=True)
        ):
            for (name, values), colour in zip(lines.items(), COLOURS, strict=False):
                axes.plot(time, values, color=colour, lw=1.2, label=name or None, drawstyle="steps-pre")
            axes.set_ylabel(label)
            axes.set_ylim(bottom=0)
            if len(lines) > 1:
                axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
            if place == len(panels) - 1:
                axes.set_xlabel("s")
        _save(figure, path)


def search_history(path: Path, trials: Sequence[tuple[int, float | None, str]]) -> None:
    """Draw the score of each trial (number, score or None, state name) and the best so far."""
    with mpl.rc_context(STYLE):
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
        _save(figure, path)


def importances(path: Path, shares: Mapping[str, float]) -> None:
    """Draw each parameter's share of the variance of the score."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, 0.9 + 0.4 * len(shares)))
        axes = figure.add_subplot()
        names = list(shares)[::-1]
        bars = axes.barh(names, [shares[name] for name in names], color=TRAIN)
        axes.bar_label(bars, fmt="%.2f", padding=3)
        axes.set(xlabel="importance for the validation score", xlim=(0, 1.1 * max(shares.values(), default=1)))
        _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with atomic.replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
