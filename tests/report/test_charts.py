import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.test_markup import Reader
from xtcav_ml.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MOST_MARKS,
    MOST_POINTS,
    RIGHT,
    TOP,
    WIDTH,
    Chart,
    span,
    stacked_bars,
    ticks,
)


def unit(**ranges):
    return Chart("x", "y", **{"x_range": (0.0, 1.0), "y_range": (0.0, 1.0), **ranges})


def places(read):
    """The points of each line, as numbers."""
    found = [line["points"] for line in read.named("polyline")]
    return [[tuple(map(float, point.split(","))) for point in points.split()] for points in found]


def test_the_corners_of_the_ranges_are_those_of_the_axes():
    chart = unit()
    chart.line("a", [0, 1], [0, 1])
    read = Reader(chart.figure("t", "d"))
    assert places(read) == [[(LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, TOP)]]
    assert [(float(mark["cx"]), float(mark["cy"])) for mark in read.named("circle")] == places(read)[0]
    assert "a, x 1: y 1" in read.words


def test_a_chart_says_in_words_what_it_shows_and_holds_real_text():
    chart = unit()
    chart.rule((0.5, 0), (0.5, 1), "kept")
    chart.line("<b>", [0, 1], [0, 1])
    read = Reader(chart.figure("Title", "rises"))
    drawing = next(svg for svg in read.named("svg") if svg.get("role") == "img")
    assert drawing["aria-label"] == "Title: rises"
    assert {"x", "y", "kept", "<b>", "0.4"} <= set(read.words)


def test_every_series_has_a_style_of_its_own_and_a_place_in_the_legend():
    chart = unit()
    for name in "abc":
        chart.line(name, [0, 1], [0, 1])
    read = Reader(chart.figure("t", "d"))
    assert [line["class"] for line in read.named("polyline")] == ["line s0", "line s1", "line s2"]
    assert [name for name in read.words if name in "abc"] == ["a", "b", "c"]


def test_what_is_not_finite_is_left_out():
    chart = unit()
    chart.line("a", [0, 0.5, 1], [0, np.nan, 1])
    chart.points("b", [0, 1], [np.inf, 0.5])
    read = Reader(chart.figure("t", "d"))
    assert len(places(read)[0]) == 2
    assert len(read.named("circle")) == 3
    assert "nan" not in str(read.tags).lower()


def test_long_series_stay_small_and_keep_their_ends():
    many = np.linspace(0, 1, 100_000)
    chart = unit()
    chart.line("a", many, many)
    chart.cloud(many, many)
    read = Reader(chart.figure("t", "d"))
    (points,) = places(read)
    assert len(points) < 2000
    assert points[0] == (LEFT, HEIGHT - BOTTOM)
    assert points[-1] == pytest.approx((WIDTH - RIGHT, TOP), abs=0.5)
    assert MOST_MARKS < len(read.named("circle")) <= MOST_POINTS


def test_an_interval_is_a_bar_from_its_lower_to_its_upper_end():
    chart = unit()
    chart.points("a", [0.5], [0.5], [0.25], [1.0])
    (bar,) = [line for line in Reader(chart.figure("t", "d")).named("line") if line["class"] == "bar s0"]
    height = HEIGHT - TOP - BOTTOM
    assert (float(bar["y1"]), float(bar["y2"])) == (HEIGHT - BOTTOM - 0.25 * height, TOP)


@given(st.floats(-1e3, 1e3), st.floats(1e-2, 1e6))
def test_ticks_are_few_round_even_and_inside(low, wide):
    found = ticks(low, low + wide)
    assert 1 <= len(found) <= 7
    assert all(low - 1e-6 * wide <= value <= low + wide * (1 + 1e-6) for value in found)
    if len(found) > 1:
        step = (found[-1] - found[0]) / (len(found) - 1)
        assert np.diff(found) == pytest.approx(step)
        assert re.fullmatch(r"[125]\.?0*e[+-]\d+", f"{step:.3e}")


def test_ticks_of_known_ranges():
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks(0, 0.0105) == [0, 0.002, 0.004, 0.006, 0.008, 0.01]
    assert ticks(3, 3) == [3]


def test_an_axis_holds_all_values_with_room():
    assert span([1, 3], [2, np.nan]) == pytest.approx((0.9, 3.1))
    assert span([1, 3], zero=True)[0] == 0
    low, high = span([5, 5])
    assert low < 5 < high
    assert span([np.nan]) == pytest.approx((-0.05, 1.05))


def test_bars_are_as_wide_as_the_shares():
    read = Reader(stacked_bars("t", {"train": [30, 10], "test": [0, 0]}, ["a & b", "c"]))
    widths = [float(box["width"]) for box in read.named("rect")]
    assert widths[0] == pytest.approx(3 * widths[1], abs=0.2)
    assert widths[2:] == [0, 0]
    assert {"train", "30", "10", "a & b", "train, a & b: 30 shots, 75.0%"} <= set(read.words)
