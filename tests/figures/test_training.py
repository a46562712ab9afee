import matplotlib as mpl
import numpy as np
import pytest

from tests.figures.test_drawing import DRAWN
from xtcav_ml.figures import training
from xtcav_ml.figures.drawing import STYLE

TRIALS = [(0, 0.5, "COMPLETE"), (1, 0.3, "PRUNED"), (2, 0.7, "COMPLETE"), (3, None, "PRUNED"), (4, None, "FAIL")]


def test_a_trial_is_drawn_at_its_own_score_or_not_at_all():
    (axes,) = training.search_history(TRIALS, "-val_loss").axes
    points = {line.get_label(): [*zip(*line.get_data(), strict=True)] for line in axes.lines}
    assert points["completed"] == [(0, 0.5), (2, 0.7)]
    assert points["pruned: score of its last epoch"] == [(1, 0.3)]
    assert points["best so far"] == [(0, 0.5), (2, 0.7)]
    assert axes.get_xlabel() == "trial (5 ended; 2 without a score)"


def test_importances_from_few_trials_are_called_so():
    few, many = (training.importances({"rate": 0.8}, trials).axes[0].get_xlabel() for trials in (12, 200))
    assert "from 12 completed trials\ntoo few to rely on" in few
    assert many.endswith("from 200 completed trials")


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


def test_a_search_in_which_nothing_was_pruned_has_no_such_mark():
    (axes,) = training.search_history([(0, 0.5, "COMPLETE")], "-val_loss").axes
    assert [line.get_label() for line in axes.lines] == ["completed", "best so far"]
    assert np.isfinite(axes.lines[0].get_data()[1]).all()
