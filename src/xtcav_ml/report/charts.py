"""Charts as SVG inside the page. Colours are the style sheet's, so that dark mode and print have theirs; text is text.

Every series has a colour and a dash of its own (classes s0, s1, ...), every point says its values when it is pointed at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xtcav_ml.report.markup import Markup, element, figure, joined

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 14, 22, 46
"""Size of a chart and its margins, px as drawn in a page that is wide enough."""

STYLES = 7
"""Colours and dashes that the style sheet has."""

MOST_MARKS, MOST_POINTS = 150, 2000
"""Points of a series beyond which a line has no marks, and a cloud shows only every so many."""


@dataclass
class Chart:
    """Two axes with what is drawn between them."""

    x_label: str
    y_label: str
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    drawn: list[Markup] = field(default_factory=list)
    legend: list[Markup] = field(default_factory=list)
    series: int = 0

    def line(self, name: str, x: ArrayLike, y: ArrayLike, *, marks: bool = True, style: int | None = None) -> None:
        """Draw y against x, leaving out where either is not finite, as the next series, or in a style of that number."""
        xs, ys = _finite(x, y)
        kind = self._named(name, style)
        px, py = self._x(xs), self._y(ys)
        keep = _thinned(px, py)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(px[keep], py[keep], strict=True))
        self.drawn.append(element("polyline", points=points, class_=f"line {kind}"))
        if marks and len(xs) <= MOST_MARKS:
            self._points(name, xs, ys, kind)

    def points(
        self, name: str, x: ArrayLike, y: ArrayLike, low: ArrayLike | None = None, high: ArrayLike | None = None
    ) -> None:
        """Draw points, with bars from `low` to `high` if these are given, as the next series."""
        kind = self._named(name)
        if low is not None and high is not None:
            for a, lower, upper in zip(np.asarray(x), np.asarray(low), np.asarray(high), strict=True):
                place = _text(self._x(a))
                bar = element(
                    "line", x1=place, x2=place, y1=_text(self._y(lower)), y2=_text(self._y(upper)), class_=f"bar {kind}"
                )
                self.drawn.append(bar)
        xs, ys = _finite(x, y)
        self._points(name, xs, ys, kind)

    def cloud(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> None:
        """Draw many points, faint, and say nothing of them by name."""
        xs, ys = _finite(x, y)
        every = -(-len(xs) // MOST_POINTS) or 1
        self._points("", xs[::every], ys[::every], "s0 cloud")

    def rule(self, start: tuple[float, float], end: tuple[float, float], name: str = "") -> None:
        """Draw a faint line from one point (x, y) to another, and write above its end what it is."""
        (x1, x2), (y1, y2) = self._x([start[0], end[0]]), self._y([start[1], end[1]])
        self.drawn.append(element("line", x1=_text(x1), y1=_text(y1), x2=_text(x2), y2=_text(y2), class_="rule"))
        if name:
            self.drawn.append(element("text", name, x=_text(x2), y=_text(y2 - 7), class_="note", text_anchor="middle"))

    def figure(self, title: str, description: str) -> Markup:
        """Return the chart under its title; `description` says in words what it shows."""
        box = {
            "viewBox": f"0 0 {WIDTH} {HEIGHT}",
            "role": "img",
            "aria_label": f"{title}: {description}",
            "class_": "chart",
        }
        drawing = element("svg", *self._axes(), *self.drawn, **box)
        return figure(drawing, joined(title, element("span", *self.legend, class_="legend") if self.legend else None))

    def _named(self, name: str, style: int | None = None) -> str:
        """Return the style of the next series, or of that number, and put its name, if it has one, into the legend."""
        kind = f"s{(self.series if style is None else style) % STYLES}"
        self.series += 1
        if name:
            sample = element("line", x1=0, y1=5, x2=24, y2=5, class_=f"line {kind}")
            swatch = element("svg", sample, viewBox="0 0 24 10", aria_hidden="true")
            self.legend.append(element("span", swatch, name))
        return kind

    def _points(self, name: str, x: NDArray[np.float64], y: NDArray[np.float64], kind: str) -> None:
        for a, b in zip(x, y, strict=True):
            title = element("title", f"{name}{', ' if name else ''}{self.x_label} {a:.5g}: {self.y_label} {b:.5g}")
            self.drawn.append(
                element("circle", title, cx=_text(self._x(a)), cy=_text(self._y(b)), r=2.5, class_=f"mark {kind}")
            )

    def _x(self, value: ArrayLike) -> NDArray[np.float64]:
        low, high = self.x_range
        return LEFT + (np.asarray(value, np.float64) - low) / ((high - low) or 1) * (WIDTH - LEFT - RIGHT)

    def _y(self, value: ArrayLike) -> NDArray[np.float64]:
        low, high = self.y_range
        return HEIGHT - BOTTOM - (np.asarray(value, np.float64) - low) / ((high - low) or 1) * (HEIGHT - TOP - BOTTOM)

    def _axes(self) -> list[Markup]:
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        parts = []
        for value in ticks(*self.x_range):
            at = _text(self._x(value))
            parts.append(element("line", x1=at, x2=at, y1=bottom, y2=bottom + 4, class_="axis"))
            parts.append(element("text", f"{value:.10g}", x=at, y=bottom + 18, text_anchor="middle"))
        for value in ticks(*self.y_range):
            height = self._y(value)
            parts.append(element("line", x1=LEFT, x2=right, y1=_text(height), y2=_text(height), class_="gridline"))
            parts.append(element("text", f"{value:.10g}", x=LEFT - 7, y=_text(height + 4), text_anchor="end"))
        middle = (TOP + bottom) / 2
        parts.append(element("line", x1=LEFT, x2=right, y1=bottom, y2=bottom, class_="axis"))
        parts.append(
            element("text", self.x_label, x=(LEFT + right) / 2, y=HEIGHT - 8, text_anchor="middle", class_="label")
        )
        turned = {"transform": f"translate(13 {middle}) rotate(-90)", "text_anchor": "middle", "class_": "label"}
        parts.append(element("text", self.y_label, **turned))
        return parts


def ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Return round numbers (steps of 1, 2 or 5 times a power of ten) from `low` to `high`, at most `most`."""
    span = high - low
    if not span > 0:
        return [low]
    power = 10.0 ** np.floor(np.log10(span / most))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if span / (factor * power) <= most - 1)
    first = int(np.ceil(low / step - 1e-9))
    return [round(i * step, 12) for i in range(first, int(np.floor(high / step + 1e-9)) + 1)]


def span(*values: ArrayLike, zero: bool = False) -> tuple[float, float]:
    """Return the ends of an axis that holds all values, with some room; from 0 if `zero`."""
    known = np.concatenate([np.ravel(np.asarray(value, np.float64)) for value in values])
    known = known[np.isfinite(known)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    room = 0.05 * ((high - low) or abs(high) or 1)
    return (0.0 if zero else low - room), high + room


def stacked_bars(title: str, rows: Mapping[str, Sequence[int]], names: Sequence[str]) -> Markup:
    """Return a bar for each of `rows`: the shares of its counts, those of `names`, with the count where there is room."""
    parts: list[Markup] = []
    height, gap, left = 30, 16, 84
    for place, (row, counts) in enumerate(rows.items()):
        top, total, x = place * (height + gap), sum(counts) or 1, float(left)
        parts.append(element("text", row, x=left - 8, y=top + 20, text_anchor="end", class_="label"))
        for i, (name, count) in enumerate(zip(names, counts, strict=True)):
            wide = count / total * (WIDTH - left - 2)
            told = element("title", f"{row}, {name}: {count:,} shots, {count / total:.1%}")
            box = {"x": f"{x:.1f}", "y": top, "width": f"{wide:.1f}", "height": height}
            parts.append(element("rect", told, **box, class_=f"block s{i % STYLES}"))
            if wide > 9 * len(f"{count:,}"):
                parts.append(
                    element(
                        "text",
                        f"{count:,}",
                        x=f"{x + wide / 2:.1f}",
                        y=top + 20,
                        text_anchor="middle",
                        class_=f"on s{i % STYLES}",
                    )
                )
            x += wide
    drawing = element(
        "svg",
        *parts,
        viewBox=f"0 0 {WIDTH} {len(rows) * (height + gap) - gap}",
        role="img",
        aria_label=f"{title}: shares of the classes, numbers in the table",
        class_="chart",
    )
    keys = [element("span", element("i", class_=f"key s{i % STYLES}"), name) for i, name in enumerate(names)]
    return figure(drawing, joined(title, element("span", *keys, class_="legend")))


def _finite(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    known = np.isfinite(xs) & np.isfinite(ys)
    return xs[known], ys[known]


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the points of a line that the eye can tell from the one before."""
    places = np.round(2 * np.stack([x, y]))
    moves = np.any(np.diff(places, axis=1) != 0, axis=0)
    return np.flatnonzero(np.concatenate([[True], moves])[: len(x)])


def _text(value: float | NDArray[np.float64]) -> str:
    return f"{float(value):.1f}"
