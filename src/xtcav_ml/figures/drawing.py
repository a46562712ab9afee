"""The look of all charts, and the ways out: `write_png` writes a Figure to a file, `svg` puts it into a page.

Bytes depend on nothing but what is shown.
"""

import html
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xtcav_ml.system import atomic

PAPER, INK, MUTED, HEAT = "#ffffff", "#222222", "#8a8a8a", "#2171b5"
TRAIN, VALIDATION = "#0072b2", "#d55e00"  # Okabe and Ito's blue and vermilion, which all eyes can tell apart
SERIES_COLOURS = (TRAIN, VALIDATION, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)
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


@mpl.rc_context(STYLE)
def write_png(path: Path, figure: Figure) -> None:
    """Write a figure to a PNG."""
    figure.dpi = mpl.rcParams["savefig.dpi"]
    if layout := figure.get_layout_engine():  # once: matplotlib would draw the whole figure to lay it out, and again
        layout.execute(figure)
        figure.set_layout_engine("none")
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


def side_by_side(count: int, width: float, height: float) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure of `count` axes side by side, of `width` and `height` each in inches."""
    figure = Figure(figsize=(width * count, height))
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def in_legend(name: str) -> str:
    """Return a name that a legend shows: matplotlib leaves out those that begin with an underscore."""
    return "\u200b" + name if name.startswith("_") else name  # a space of no width


def legend_above(axes: Axes, **options: Any) -> None:
    """Put the legend above the axes, where it hides no data; nothing if there is none."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, **options)
