import matplotlib as mpl
import numpy as np
import pytest

from xtcav_ml.config.data import Axes
from xtcav_ml.config.prepare import BlockMean, Contrast, Log, Pixels, RegionOfInterest
from xtcav_ml.figures import frames
from xtcav_ml.figures.drawing import STYLE
from xtcav_ml.figures.frames import Grid, Picture
from xtcav_ml.science.images import Preprocessing

STEPS = (
    RegionOfInterest(step="roi", rows=(0, 80), columns=(0, 60)),
    BlockMean(step="block_mean", size=2),
    Log(step="log"),
)
CALIBRATED = Axes(time_per_column=1.5, energy_per_row=0.1)


def preprocessing(steps=STEPS):
    return Preprocessing(steps, Pixels(dtype="float32", quantum=None), (100, 80), None)


def spotted(row, column, shape=(40, 30)):
    """A frame with a bright spot, and a fainter one above and left of it."""
    frame = np.zeros(shape)
    frame[row - 1 : row + 2, column - 1 : column + 2] = 9
    frame[row - 5, column - 8] = 3
    return frame


def drawn(grid, rows=((20, 15),), **options):
    pictures = [Picture(spotted(*place), "a", grid, options.get("evidence")) for place in rows]
    return frames.sheet([("yes", pictures)], "title")


def panels(figure):
    """The axes of pictures, without their insets, and of the colour bars."""
    own = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    return own, [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]


def value_at(axes, x, y):
    """The value drawn at a place of the axes."""
    image = axes.images[0]
    left, right, bottom, top = image.get_extent()
    pixels = np.asarray(image.get_array())
    row = int((y - top) / (bottom - top) * pixels.shape[0])
    return float(pixels[row, int((x - left) / (right - left) * pixels.shape[1])])


@pytest.mark.parametrize(("time", "energy"), [(1.5, 0.1), (-1.5, 0.1), (1.5, -0.1)])
def test_axes_are_in_fs_and_mev_later_to_the_right_higher_up_whatever_the_camera_s_direction(time, energy):
    grid = Grid.of(preprocessing(), Axes(time_per_column=time, energy_per_row=energy))
    assert (grid.column, grid.row) == (2 * time, 2 * energy)
    figure = drawn(grid)
    (axes,), _ = panels(figure)
    assert axes.get_xlim()[0] < 0 < axes.get_xlim()[1]
    assert axes.get_ylim()[0] < 0 < axes.get_ylim()[1]
    assert value_at(axes, 0, 0) == 9
    assert value_at(axes, -8 * 2 * time, -5 * 2 * energy) == 3  # eight columns before, five rows above
    assert figure.get_supxlabel() == "time from the middle of the beam, fs  (later →)"
    assert figure.get_supylabel() == "energy from the middle of the beam, MeV  (higher →)"


def test_mirrored_streaks_stand_beside_others_in_the_order_of_time_on_the_same_axes():
    straight, mirrored = (
        Grid.of(preprocessing(), Axes(time_per_column=step, energy_per_row=0.1)) for step in (1.5, -1.5)
    )
    frame = spotted(20, 15)
    figure = frames.sheet([("yes", [Picture(frame, "", straight), Picture(frame[:, ::-1], "", mirrored)])], "title")
    own, _ = panels(figure)
    assert own[0].get_xlim() == own[1].get_xlim()
    for axes in own:
        assert value_at(axes, 0, 0) == 9
        assert value_at(axes, -8 * 3, -5 * 0.2) == 3
        assert axes.get_xlim() == tuple(sorted(axes.images[0].get_extent()[:2]))


def test_without_a_calibration_they_are_pixels_of_the_camera_and_down_is_down():
    figure = drawn(Grid.of(preprocessing(), None))
    (axes,), _ = panels(figure)
    assert "pixels" in figure.get_supxlabel()
    assert "pixels" in figure.get_supylabel()
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert value_at(axes, -16, -10) == 3


def test_pictures_are_cut_out_around_the_beam_on_the_same_axes_with_the_whole_frame_inset():
    figure = drawn(Grid.of(preprocessing(), CALIBRATED), rows=((20, 15), (9, 20)))
    own, _ = panels(figure)
    assert own[0].get_xlim() == own[1].get_xlim()
    assert own[0].get_ylim() == own[1].get_ylim()
    for axes in own:
        assert value_at(axes, 0, 0) == 9
        assert axes.images[0].get_array().size < 40 * 30 / 2
        (inset,) = axes.child_axes
        assert inset.images[0].get_array().shape == (40, 30)
        (window,) = inset.patches
        assert (window.get_height() + 1, window.get_width() + 1) == axes.images[0].get_array().shape
    assert drawn(Grid.of(preprocessing(), None)) is not figure


def test_a_sheet_has_one_colour_bar_with_what_it_shows():
    grid = Grid.of(preprocessing(), CALIBRATED)
    for figure, label in ((drawn(grid), "ln(1 + signal/ADU)"), (drawn(grid, evidence=np.eye(40, 30)), "score")):
        _, (bar,) = panels(figure)
        assert label in bar.get_ylabel()
    contrast = preprocessing((Log(step="log"), Contrast(step="contrast", floor=1.0)))
    assert Grid.of(contrast, None).quantity == "signal, s.d. of the frame"
    assert Grid.of(preprocessing(()), None).quantity == "signal, ADU"


def test_evidence_is_drawn_where_it_is():
    evidence = np.zeros((40, 30))
    evidence[20, 15] = 0.5
    figure = drawn(Grid.of(preprocessing(), CALIBRATED), evidence=evidence)
    (axes,), _ = panels(figure)
    _, over = axes.images
    left, _, _, top = over.get_extent()
    row, column = np.unravel_index(np.asarray(over.get_array()).argmax(), over.get_array().shape)
    assert left + (column + 0.5) * 2 * 1.5 == pytest.approx(0)
    assert top + (row + 0.5) * 2 * 0.1 == pytest.approx(0)


@mpl.rc_context(STYLE)
def test_nothing_of_a_sheet_lies_over_another():
    figure = drawn(Grid.of(preprocessing(), CALIBRATED), rows=((20, 15), (9, 20)))
    figure.draw_without_rendering()
    own, bars = panels(figure)
    boxes = [axes.get_window_extent() for axes in (*own, *bars, *(axes.child_axes[0] for axes in own))]
    for i, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[:i])


def test_the_lowest_picture_of_each_column_has_its_numbers():
    picture = Picture(spotted(20, 15), "a", Grid.of(preprocessing(), CALIBRATED))
    figure = frames.sheet([("yes", [picture, picture]), ("no", [picture]), ("none", [])], "title")
    own, _ = panels(figure)
    shown = [[axes for axes in own[i::2] if axes.images][-1] for i in range(2)]
    assert all(axes.xaxis.get_tick_params()["labelbottom"] for axes in shown)
    assert not own[0].xaxis.get_tick_params()["labelbottom"]
