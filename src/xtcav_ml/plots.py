"""The only module with matplotlib: pictures, to files whose bytes depend on nothing but what they show."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xtcav_ml import atomic

INK, MUTED = "#222222", "#8a8a8a"
TRAIN, VALIDATION = "#0072b2", "#d55e00"  # Okabe and Ito's blue and vermilion, told apart by all eyes
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


def frame_sheet(
    path: Path,
    rows: Sequence[tuple[str, Sequence[tuple[NDArray[np.generic], str]]]],
    title: str,
    *,
    one_scale: bool = True,
) -> None:
    """Draw rows of frames (rows energy, columns time), each row with its name, each frame with its caption.

    On one scale, from 0 to the brightest 0.1 % of the brightest frame, or each on its own between its 1st and 99.9th
    percentile.
    """
    with mpl.rc_context(STYLE):
        columns = max(len(frames) for _, frames in rows)
        shown = [frame.astype(np.float32) for _, frames in rows for frame, _ in frames]
        brightest = max(max(float(np.quantile(frame, 0.999)) for frame in shown), 1e-3)
        figure = Figure(figsize=(1.9 * columns + 0.6, 2.3 * len(rows) + 0.5))
        grid = figure.subplots(len(rows), columns, squeeze=False)
        for line, (name, frames) in zip(grid, rows, strict=True):
            for axes in line:
                axes.set_axis_off()
            for axes, (frame, caption) in zip(line, frames, strict=False):
                pixels = frame.astype(np.float32)
                low, high = (0.0, brightest) if one_scale else np.quantile(pixels, [0.01, 0.999])
                axes.imshow(pixels, cmap="magma", vmin=low, vmax=max(high, low + 1e-3))
                axes.set_title(caption, fontsize=8, color=INK)
            beside = line[0].transAxes
            line[0].text(-0.08, 0.5, name, transform=beside, rotation=90, ha="right", va="center", fontsize=11)
        figure.suptitle(title, fontsize=11)
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
