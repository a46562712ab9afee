"""The training, epoch by epoch, and what it uses of the machine."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from xtcav_ml.figures.drawing import MUTED, SERIES_COLOURS, STYLE, TRAIN, VALIDATION, legend_above, side_by_side

MOST_MARKS = 150  # of a series: a longer line has no marks

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
    figure, row = side_by_side(len(names), 4.5, 3.6)
    epochs = np.arange(1, len(history) + 1)
    marks: Any = {"marker": "o" if len(history) <= MOST_MARKS else None, "markersize": 3}
    for axes, name in zip(row, names, strict=True):
        both = {"training": (f"train_{name}", TRAIN, "-"), "validation": (f"val_{name}", VALIDATION, "--")}
        for label, (key, colour, dash) in (both if f"val_{name}" in history[0] else {"": (name, TRAIN, "-")}).items():
            values = [epoch.get(key, np.nan) for epoch in history]
            axes.plot(epochs, values, color=colour, linestyle=dash, label=label or None, **marks)
        axes.axvline(best_epoch, color=MUTED, linewidth=1, linestyle=":", label=f"kept: epoch {best_epoch}")
        axes.set(xlabel="epoch", ylabel=CURVE_STYLES[name])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if name not in MEASURES:
            axes.set_ylim(bottom=0)
        legend_above(axes, ncols=2, columnspacing=1)
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
