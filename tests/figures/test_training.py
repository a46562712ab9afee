import matplotlib as mpl
import pytest

from tests.figures.test_drawing import DRAWN
from xtcav_ml.figures import training
from xtcav_ml.figures.drawing import STYLE


@mpl.rc_context(STYLE)
@pytest.mark.parametrize("name", DRAWN)
def test_no_legend_lies_among_data(name):
    figure = DRAWN[name]()
    figure.draw_without_rendering()
    legends = [*figure.legends, *(legend for axes in figure.axes if (legend := axes.get_legend()))]
    for legend in legends:
        box = legend.get_window_extent()
        assert not any(_overlap(box, axes.get_window_extent()) for axes in figure.axes), name
        assert box.x0 >= -1
        assert box.x1 <= figure.bbox.x1 + 1


def _overlap(one, other):
    """Whether two boxes share more than an edge."""
    across = min(one.x1, other.x1) - max(one.x0, other.x0)
    return across > 1 and min(one.y1, other.y1) - max(one.y0, other.y0) > 1


@pytest.mark.parametrize("epochs", [1, 3, 20, 40])
def test_epochs_are_counted_in_whole_numbers(epochs):
    history = [{"train_accuracy": 0.5, "val_accuracy": 0.5}] * epochs
    for axes in training.learning_curves(history, 1, ["accuracy"]).axes:
        assert all(tick == int(tick) for tick in axes.get_xticks())
