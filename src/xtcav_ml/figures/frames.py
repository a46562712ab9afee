"""Frames of the camera on axes of time and energy, cut out around the beam, with the whole frame beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any, Self

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from xtcav_ml.config.data import Axes as Calibration
from xtcav_ml.figures.drawing import INK, MUTED, STYLE
from xtcav_ml.science import bunch
from xtcav_ml.science.images import Preprocessing

LEAST_RANGE = 1e-3  # of a colour scale, in the unit of the pixels, where all are equal
FRAME_COLOURS, EVIDENCE_COLOURS = "cubehelix_r", "bwr"
"""White where nothing is; the lightness falls with the signal: D. A. Green, Bull. Astron. Soc. India 39 (2011) 289."""

UNDER_EVIDENCE = "Greys"
MARGIN, LEAST_SIDE = 1.15, 4  # around the beams of a sheet: a factor, and pixels
PANEL = (1.62, 1.75)  # inches
LEAST_HEIGHT = 3.6  # of a sheet, for the name of its vertical axis


QUANTITIES = {"log": "ln(1 + signal/ADU)", "contrast": "signal, s.d. of the frame"}
"""What a pixel is after a step that changes its unit."""


def block(preprocessing: Preprocessing) -> int:
    """Return the pixels of a raw frame along a side of a prepared one."""
    return prod(step.size for step in preprocessing.steps if step.step == "block_mean")


@dataclass(frozen=True)
class Grid:
    """The step from one column and from one row of a frame to the next: fs and MeV, or pixels of the camera."""

    column: float
    row: float
    calibrated: bool
    quantity: str  # what a pixel is, with its unit

    @classmethod
    def of(cls, preprocessing: Preprocessing, axes: Calibration | None) -> Self:
        """Return the grid of prepared frames; `axes` is the calibration of raw ones, None if it is not known."""
        size, quantity = block(preprocessing), "signal, ADU"
        for step in preprocessing.steps:
            quantity = QUANTITIES.get(step.step, quantity)
        if axes is None:
            return cls(size, size, False, quantity)
        return cls(size * axes.time_per_column, size * axes.energy_per_row, True, quantity)

    @property
    def names(self) -> tuple[str, str]:
        """Return the names of both axes, each with an arrow that points along it."""
        if self.calibrated:
            return (
                "time from the middle of the beam, fs  (later →)",
                "energy from the middle of the beam, MeV  (higher →)",
            )
        return (
            "columns from the middle of the beam, pixels  (right →)",
            "rows from the middle of the beam, pixels  (← down)",
        )


@dataclass(frozen=True)
class Picture:
    """A frame (rows, columns) with its caption, and maybe what each pixel of it adds to a score."""

    frame: NDArray[np.floating]
    caption: str
    grid: Grid
    evidence: NDArray[np.floating] | None = None


Rows = Sequence[tuple[str, Sequence[Picture]]]
"""Rows of a sheet, each with its name."""

Sides = tuple[float, float, float, float]
"""How far a cut reaches from the middle of the beam: above, below, before, after, in the units of the axes or pixels."""


@mpl.rc_context(STYLE)
def sheet(rows: Rows, title: str, *, one_scale: bool = True) -> Figure:
    """Draw rows of pictures on the same axes, with one colour bar; with evidence, that over frames in grey.

    On one scale, from 0 to the brightest 0.1 % of the brightest frame, or each on its own between its 1st and 99.9th
    percentile.
    """
    pictures = [picture for _, row in rows for picture in row]
    columns = max([len(row) for _, row in rows] + [1])
    figure = Figure(figsize=(PANEL[0] * columns + 1.4, max(PANEL[1] * len(rows) + 0.9, LEAST_HEIGHT)))
    grid = figure.subplots(len(rows), columns, squeeze=False, sharex=True, sharey=True)
    look = _Look.of(pictures, one_scale=one_scale)
    for line, (name, row) in zip(grid, rows, strict=True):
        for axes, picture in zip(line, row, strict=False):
            _draw(axes, picture, look)
        for axes in line[len(row) :]:
            axes.set_visible(False)
        _name_row(figure, line[0], name, empty=not row)
    for column in grid.T:
        for axes in [axes for axes in column if axes.images][-1:]:
            axes.tick_params(labelbottom=True)  # the row below may be shorter
    figure.suptitle(title, fontsize=11)
    if pictures:
        figure.supxlabel(pictures[0].grid.names[0], fontsize=9)
        figure.supylabel(pictures[0].grid.names[1], fontsize=9)
        _colour_bar(figure, grid, pictures[0], look)
    return figure


@dataclass(frozen=True)
class _Look:
    """What all pictures of a sheet share."""

    sides: Sides
    brightest: float | None  # of the colour scale; None where each picture has its own
    evidence: float  # most, for or against

    @classmethod
    def of(cls, pictures: Sequence[Picture], *, one_scale: bool) -> Self:
        brightest = max([float(np.nanquantile(each.frame, 0.999)) for each in pictures] + [LEAST_RANGE])
        maps = [np.abs(each.evidence) for each in pictures if each.evidence is not None]
        most = float(np.median([one.max() for one in maps])) if maps else 0.0
        return cls(_sides(pictures), brightest if one_scale else None, most or 1.0)

    def scale(self, frame: NDArray[np.floating]) -> tuple[float, float]:
        """Return the values of a frame at the ends of the colour scale."""
        if self.brightest is not None:
            return 0.0, self.brightest
        low, high = np.nanquantile(frame, [0.01, 0.999])
        return float(low), max(float(high), float(low) + LEAST_RANGE)


def _sides(pictures: Sequence[Picture]) -> Sides:
    """Return the sides that hold the beams of all pictures; the whole frame if none has a beam."""
    most = np.zeros(4)
    for picture in pictures:
        place, steps = bunch.find(picture.frame), _steps(picture.grid)
        sides = [place.above, place.below, *_in_time(picture.grid, place.before, place.after)]
        if not any(sides):
            continue
        height, width = picture.frame.shape
        reach = np.minimum(np.array(sides) * MARGIN + LEAST_SIDE, [height, height, width, width])
        most = np.maximum(most, reach * steps)
    if not most.any() and pictures:
        height, width = pictures[0].frame.shape
        most = np.array([height, height, width, width]) / 2 * _steps(pictures[0].grid)
    above, below, before, after = most.tolist()
    return above, below, before, after


def _in_time(grid: Grid, before: float, after: float) -> tuple[float, float]:
    """Return what is to the left and to the right of a frame in the order of time, or the other way round."""
    return (after, before) if grid.column < 0 else (before, after)


def _steps(grid: Grid) -> NDArray[np.float64]:
    return np.abs([grid.row, grid.row, grid.column, grid.column])


def _draw(axes: Axes, picture: Picture, look: _Look) -> None:
    """Draw the part of a picture around its beam, on its axes, and the whole frame beside it."""
    place, grid = bunch.find(picture.frame), picture.grid
    reach = (np.array(look.sides) / _steps(grid)).tolist()
    above, below, before, after = map(ceil, (*reach[:2], *_in_time(grid, *reach[2:])))
    sides = (above, below, before, after)
    edges = np.array([-before - 0.5, after + 0.5]) * grid.column, np.array([-above - 0.5, below + 0.5]) * grid.row
    low, high = look.scale(picture.frame)
    colours: Any = {"cmap": FRAME_COLOURS if picture.evidence is None else UNDER_EVIDENCE, "vmin": low, "vmax": high}
    extent: Any = {"extent": (*edges[0], *edges[1][::-1]), "aspect": "auto"}
    axes.imshow(bunch.cut(picture.frame, place.row, place.column, sides), **colours, **extent)
    if picture.evidence is not None:
        part = np.nan_to_num(bunch.cut(picture.evidence, place.row, place.column, sides)) / look.evidence
        over: Any = {"cmap": EVIDENCE_COLOURS, "vmin": -1, "vmax": 1, "alpha": np.clip(1.2 * np.abs(part), 0, 0.9)}
        axes.imshow(part, **over, **extent)
    down = sorted(edges[1]) if grid.calibrated else sorted(edges[1], reverse=True)
    axes.set(xlim=sorted(edges[0]), ylim=down)
    axes.tick_params(labelsize=7, length=2)
    axes.set_title(picture.caption, fontsize=7.5, color=INK)
    _whole(axes, picture, (place.row - above, place.column - before, above + below, before + after), colours)


def _whole(axes: Axes, picture: Picture, window: tuple[int, int, int, int], colours: dict[str, Any]) -> None:
    """Draw the whole frame in a corner outside the axes, with the window (first row and column, height, width) in it."""
    height, width = picture.frame.shape
    inset = axes.inset_axes((1.02, 0.0, 0.3, 0.36))
    inset.imshow(picture.frame, aspect="auto", **colours)
    row, column, rows, columns = window
    inset.add_patch(Rectangle((column, row), columns, rows, fill=False, color=MUTED, linewidth=0.6))
    grid = picture.grid
    flipped = grid.calibrated and grid.row > 0, grid.column < 0
    inset.set(xlim=(0, width)[:: -1 if flipped[1] else 1], ylim=(0, height)[:: 1 if flipped[0] else -1])
    inset.set(xticks=[], yticks=[])
    inset.spines[:].set(visible=True, linewidth=0.6)


def _name_row(figure: Figure, axes: Axes, name: str, *, empty: bool) -> None:
    """Write the name of a row to the left of its first picture; with a word if it has none."""
    if empty:
        axes.set_visible(True)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelleft=False, labelbottom=False)
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center", color=MUTED)
    axes.set_ylabel(name, fontsize=10)


def _colour_bar(figure: Figure, grid: Any, picture: Picture, look: _Look) -> None:
    """Draw the colour bar of a sheet."""
    if picture.evidence is not None:
        norm, colours = mpl.colors.Normalize(-look.evidence, look.evidence), EVIDENCE_COLOURS
        label = "added to the score by a pixel"
    else:
        norm, colours, label = mpl.colors.Normalize(0, look.brightest or 1), FRAME_COLOURS, picture.grid.quantity
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=list(grid.flat), shrink=0.6, aspect=30, pad=0.02)
    bar.set_label(
        label if look.brightest is not None else "each frame from its 1st to its 99.9th percentile", fontsize=9
    )
    bar.ax.tick_params(labelsize=7)
    if look.brightest is None:
        bar.set_ticks([])
