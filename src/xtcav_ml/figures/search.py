"""The search: what its trials reached, where they stopped, and which parameters that depends on.

Each mark of a trial has an id, `t` and its number, by which a page can add what it is. States differ by shape and fill, lines
by width and dashes, so that all can be told apart in black and white.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, NullLocator

from xtcav_ml.figures.drawing import DASHES, HEAT, INK, MUTED, PAPER, STYLE, TRAIN, VALIDATION
from xtcav_ml.science import search
from xtcav_ml.science.search import FEW_TRIALS, Search, Trial, shortened

LOST = ("infeasible", "failed")  # states without a score
PER_ROW = 3  # panels of slices
OFF = -0.14  # height of the parameters that a trial does not have, in the heights of an axis
MOST_LETTERS = 36  # of a line of an axis' label
MOST_TICKS = 8  # of an axis with a mark at each value
TABLE_SHARE = 0.65  # of the colour in the best cell: ink must be legible on it


def charts(found: Search) -> dict[str, tuple[str, Figure]]:
    """Return the title and the figure of each chart that the search has something to show for, by a short name."""
    able = search.scored(found.trials)
    drawn: dict[str, tuple[str, Figure]] = {}
    if not able:
        return drawn
    if len(found.objectives) > 1:
        drawn["pareto"] = ("The front of the objectives", pareto(found))
    drawn["history"] = ("Score of each trial", history(found))
    if found.stops:
        drawn["rungs"] = ("Which trials stopped where", rungs(found))
    if found.repeats:
        drawn["repeats"] = ("The best trials with other seeds", repeats(found))
    if found.importances:
        drawn["importance"] = ("What mattered", importances(found.importances, len(able)))
    drawn["slices"] = ("Score by parameter", slices(found))
    drawn["parallel"] = ("All parameters of each trial", parallel(found))
    for kernel, pool in search.pairs(found.space):
        names = shortened(list(found.space))
        title = f"Best score by {names[kernel]} and {names[pool]}"
        drawn[f"{names[kernel]}_{names[pool]}".replace(".", "_")] = (title, by_two(found, kernel, pool))
    return drawn


def _look(trial: Trial, best: int | None) -> dict[str, Any]:
    """Return the marker of a trial, and its line in the legend."""
    common: Any = {"linestyle": "none", "gid": f"t{trial.number}", "markersize": 6}
    if trial.number == best:
        return {
            **common,
            "marker": "*",
            "markersize": 13,
            "color": VALIDATION,
            "label": f"best: trial {best}",
            "zorder": 4,
        }
    if trial.state in LOST:
        return {**common, "marker": "x", "color": INK, "label": "infeasible or failed"}
    if trial.state == "complete":
        return {**common, "marker": "o", "color": TRAIN, "label": "trained to the end", "zorder": 3}
    return {**common, "marker": "o", "color": MUTED, "markerfacecolor": "none", "label": "stopped on the way"}


def _legend(axes: Axes, **options: Any) -> None:
    """Put each label into the legend once, above the axes."""
    handles, where = _handles([axes]), dict[str, Any](loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    axes.legend(list(handles.values()), list(handles), columnspacing=1.2, handletextpad=0.5, **where, **options)


def _handles(panels: Iterable[Axes]) -> dict[str, Any]:
    """Return a line for each label of several panels, those that are in front first."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return dict(sorted(found.items(), key=lambda item: -item[1].get_zorder()))


def _score(found: Search, before: str = "validation score, ") -> str:
    """Return the label of an axis of scores, in lines that are as long as it is."""
    return textwrap.fill(before + found.scored_by, MOST_LETTERS)


@mpl.rc_context(STYLE)
def history(found: Search) -> Figure:
    """Draw the score of each trial by its number, the best so far, and that of params.yaml's own trial."""
    figure = Figure(figsize=(7, 3.8))
    axes, able = figure.add_subplot(), sorted(search.scored(found.trials), key=lambda trial: trial.number)
    own = next((trial for trial in able if trial.params == found.baseline), None)
    if own is not None:
        axes.axhline(own.score or 0.0, color=INK, linewidth=1, linestyle=":", label=f"params.yaml: trial {own.number}")
    numbers, scores = zip(*((trial.number, trial.score) for trial in able), strict=True)
    axes.step(numbers, np.maximum.accumulate(scores), where="post", color=VALIDATION, linewidth=1, label="best so far")
    for trial in found.trials:
        if trial.score is not None:
            axes.plot(trial.number, trial.score, **_look(trial, found.best))
        elif trial.state in LOST:
            axes.plot(trial.number, 0.03, transform=axes.get_xaxis_transform(), **_look(trial, found.best))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel=f"trial, of {len(found.trials)}", ylabel=_score(found))
    _legend(axes, ncols=3)
    return figure


@mpl.rc_context(STYLE)
def rungs(found: Search) -> Figure:
    """Draw the best score so far of each trial against the epoch, up to where it stopped."""
    figure = Figure(figsize=(7, 3.8))
    axes, able = figure.add_subplot(), search.scored(found.trials)
    for trial in reversed(able):
        epochs, scores = zip(*trial.curve, strict=True) if trial.curve else ((trial.epochs,), (trial.score,))
        look = _look(trial, found.best)
        chosen, whole = trial.number == found.best, trial.state == "complete"
        width = 2.5 if chosen else 1.2 if whole else 0.7
        axes.plot(epochs, scores, gid=look["gid"], color=look["color"], linewidth=width, zorder=look.get("zorder", 2))
        axes.plot(epochs[-1], scores[-1], **look)
    ends = [*found.stops, found.epochs]
    reached = [sum(trial.epochs >= stop for trial in able) for stop in ends]
    for stop in found.stops:
        axes.axvline(stop, color=MUTED, linewidth=0.8, linestyle=":", zorder=0)
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(
        ends, [f"{stop}\n{count} trial{'s' * (count != 1)}" for stop, count in zip(ends, reached, strict=True)]
    )
    axes.set(xlabel="epochs, and how many trials reached them", ylabel=_score(found, "best score so far, "))
    _legend(axes, ncols=3)
    return figure


@mpl.rc_context(STYLE)
def importances(shares: Mapping[str, float], trials: int) -> Figure:
    """Draw how much each parameter tells the best of so many `trials` from the others, as shares of 1."""
    figure = Figure(figsize=(7, 0.9 + 0.4 * len(shares)))
    axes = figure.add_subplot()
    names = list(shares)[::-1]
    bars = axes.barh(names, [shares[name] for name in names], color=TRAIN)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    rough = "; too few to rely on" if trials < FEW_TRIALS else ""
    axes.set(xlim=(0, 1.1 * max(shares.values(), default=1)))
    axes.set(xlabel=f"share in what tells the best trials from the others\n({trials} trials{rough})")
    return figure


@mpl.rc_context(STYLE)
def slices(found: Search) -> Figure:
    """Draw the score of each trial against each of its parameters."""
    columns = min(PER_ROW, len(found.space))
    rows = -(-len(found.space) // columns)
    figure = Figure(figsize=(max(3 * columns, 4.5), 2.6 * rows + 0.4))
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    able, names = search.scored(found.trials), shortened(list(found.space))
    for axes, (name, values) in zip(grid.flat, found.space.items(), strict=False):
        for trial in reversed(able):
            if name in trial.params:
                axes.plot(_place(values, trial.params[name]), trial.score, **_look(trial, found.best))
        if "choices" in values:
            axes.set_xticks(range(len(values["choices"])), list(map(_word, values["choices"])))
            axes.set_xlim(-0.5, len(values["choices"]) - 0.5)
        elif values.get("log"):
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xticks(ticks := _decades(values["low"], values["high"]), list(map(_word, ticks)))
        elif _steps(values):
            axes.set_xticks(_steps(values))
        axes.set_xlabel(names[name])
    for axes in list(grid.flat)[len(found.space) :]:
        axes.set_visible(False)
    figure.supylabel(_score(found), fontsize=10)
    handles = _handles(grid.flat)
    figure.legend(handles.values(), handles, loc="outside upper left", ncols=3, columnspacing=1.2, handletextpad=0.5)
    return figure


def _place(values: Mapping[str, Any], value: Any) -> float:
    """Return where a value stands on its axis: a number at itself, one of several choices at its place among them."""
    return float(values["choices"].index(value) if "choices" in values else value)


def _word(value: Any) -> str:
    return "null" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


@mpl.rc_context(STYLE)
def parallel(found: Search) -> Figure:
    """Draw each trial as a line through its parameters and its score; what a trial does not have lies below the axis."""
    able, names = search.scored(found.trials), shortened(list(found.space))
    low, high = (end(trial.score or 0.0 for trial in able) for end in (min, max))
    dimensions = {**found.space, "score": {"low": low, "high": high if high > low else low + 1}}
    figure = Figure(figsize=(max(1.35 * len(dimensions), 5), 4.2))
    axes = figure.add_subplot()
    top = {trial.number for trial in able[: max(len(able) // 3, 1)]}
    for trial in reversed(able):
        at = {**trial.params, "score": trial.score}
        heights = [_height(values, at[name]) if name in at else OFF for name, values in dimensions.items()]
        axes.plot(range(len(dimensions)), heights, gid=f"t{trial.number}", **_stroke(trial, found.best, top))
    paper: Any = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
    for column, values in enumerate(dimensions.values()):
        axes.plot([column, column], [0, 1], color=INK, linewidth=1, zorder=5)
        for text, height in _ticks(values):
            axes.text(column + 0.05, height, text, fontsize=8, color=INK, va="center", zorder=6, bbox=paper)
    if any(name not in trial.params for trial in able for name in found.space):
        axes.text(-0.05, OFF, "not tried", fontsize=8, color=INK, va="center", ha="right")
    axes.set_xticks(range(len(dimensions)), [names.get(name, name).replace("_", "_\n") for name in dimensions])
    axes.set(xlim=(-0.3, len(dimensions) - 0.4), yticks=[])
    axes.tick_params(length=0)
    axes.xaxis.tick_bottom()
    axes.spines[:].set_visible(False)
    _legend(axes, ncols=3)
    return figure


def _stroke(trial: Trial, best: int | None, top: set[int]) -> dict[str, Any]:
    """Return how the line of a trial looks."""
    if trial.number == best:
        return {"color": VALIDATION, "linewidth": 3, "zorder": 4, "label": f"best: trial {best}"}
    if trial.number in top:
        return {"color": TRAIN, "linewidth": 1.4, "zorder": 3, "label": "best third"}
    return {"color": MUTED, "linewidth": 0.8, "linestyle": DASHES[1], "alpha": 0.7, "zorder": 2, "label": "others"}


def _height(values: Mapping[str, Any], value: Any) -> float:
    """Return how high a value stands on an axis from 0 to 1."""
    if "choices" in values:
        return float((values["choices"].index(value) + 0.5) / len(values["choices"]))
    low, high, here = ((np.log(one) if values.get("log") else one) for one in (values["low"], values["high"], value))
    return float((here - low) / (high - low))


def _ticks(values: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Return the words beside an axis, each with its height."""
    shown = values.get("choices") or _steps(values) or [values["low"], values["high"]]
    return [(_word(value), _height(values, value)) for value in shown]


def _steps(values: Mapping[str, Any]) -> list[int]:
    """Return the values of a range of a few steps; none of others."""
    few = values.get("step") and (values["high"] - values["low"]) // values["step"] < MOST_TICKS
    return list(range(values["low"], values["high"] + 1, values["step"])) if few else []


def _decades(low: float, high: float) -> list[float]:
    """Return 1 and 3 in each power of ten from `low` to `high`; these two if there is none."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    found = [float(f"{digit}e{power}") for power in powers for digit in (1, 3)]
    return [value for value in found if 0.999 * low <= value <= 1.001 * high] or [low, high]


@mpl.rc_context(STYLE)
def by_two(found: Search, one: str, other: str) -> Figure:
    """Draw a table of two parameters: in each cell the best score, darker where it is higher, and the number of trials."""
    cells: dict[tuple[Any, Any], list[float]] = {}
    for trial in search.scored(found.trials):
        if one in trial.params and other in trial.params:
            cells.setdefault((trial.params[one], trial.params[other]), []).append(trial.score or 0.0)
    rows, columns = (_values(found.space[name], [key[i] for key in cells]) for i, name in enumerate((one, other)))
    figure = Figure(figsize=(1.7 + 1.0 * len(columns), 1.2 + 0.62 * len(rows)))
    axes, order = figure.add_subplot(), sorted(max(scores) for scores in cells.values())
    for (row, column), scores in cells.items():
        x, y, share = columns.index(column), rows.index(row), (order.index(max(scores)) + 1) / len(order)
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=HEAT, alpha=TABLE_SHARE * share, linewidth=0))
        axes.text(x, y, f"{max(scores):.3f}\nof {len(scores)}", ha="center", va="center", color=INK, fontsize=9)
    names = shortened(list(found.space))
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5), xlabel=names[other], ylabel=names[one])
    axes.set_title("best score, of so many trials", fontsize=10)
    axes.set_xticks(range(len(columns)), list(map(_word, columns)))
    axes.set_yticks(range(len(rows)), list(map(_word, rows)))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def _values(values: Mapping[str, Any], tried: Sequence[Any]) -> list[Any]:
    """Return the values of a parameter in their order: all choices, or those of a range that were tried."""
    return list(values["choices"]) if "choices" in values else sorted(set(tried))


@mpl.rc_context(STYLE)
def repeats(found: Search) -> Figure:
    """Draw what params.yaml and the best trials reach with each of the other seeds, and the means."""
    figure = Figure(figsize=(7, 1.3 + 0.45 * len(found.repeats)))
    axes = figure.add_subplot()
    for row, scores in enumerate(found.repeats.values()):
        axes.plot(scores, [row] * len(scores), "o", color=TRAIN, markerfacecolor="none", label="one seed")
        axes.plot(np.mean(scores), row, "|", color=VALIDATION, markersize=18, markeredgewidth=2.5, label="mean")
    axes.set_yticks(range(len(found.repeats)), list(found.repeats))
    axes.set(ylim=(len(found.repeats) - 0.5, -0.5), xlabel=f"{found.shot_score} on the validation shots")
    axes.grid(axis="x", color=MUTED, linewidth=0.4, alpha=0.5)
    _legend(axes, ncols=2)
    return figure


@mpl.rc_context(STYLE)
def pareto(found: Search) -> Figure:
    """Draw the trials in the first objective and each of the others, and those that no other trial beats in all."""
    others = range(1, len(found.objectives))
    figure = Figure(figsize=(5.2 * len(others), 4))
    panels = figure.subplots(1, len(others), squeeze=False)[0]
    able = [trial for trial in search.scored(found.trials) if len(trial.values) == len(found.objectives)]
    chosen = set(search.front([trial.values for trial in able], found.maximized))
    for axes, other in zip(panels, others, strict=True):
        points = sorted((able[i].values[other], able[i].values[0]) for i in chosen)
        if len(others) == 1:
            side = "pre" if found.maximized[other] else "post"
            axes.step(*zip(*points, strict=True), where=side, color=VALIDATION, linewidth=1)
        for i, trial in enumerate(able):
            on_front: Any = {"marker": "s", "color": VALIDATION, "label": "no other is better in all", "zorder": 3}
            on_front["markerfacecolor"] = VALIDATION
            look = _look(trial, found.best) | (on_front if i in chosen and trial.number != found.best else {})
            axes.plot(trial.values[other], trial.values[0], **look)
        axes.set(xlabel=found.objectives[other], ylabel=textwrap.fill(found.objectives[0], MOST_LETTERS))
        _legend(axes, ncols=2)
    return figure
