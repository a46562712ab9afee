from dataclasses import replace

import numpy as np
import pytest

from tests.figures.searches import (
    BASELINE,
    KERNEL,
    POOL,
    RATE,
    SECOND,
    STOPS,
    made_up,
    with_objectives,
    without_second_block,
)
from xtcav_ml.figures import search
from xtcav_ml.science.search import scored


def marks(axes):
    """The places of the marks of each trial, by its number."""
    lines = [line for line in axes.lines if str(line.get_gid()).startswith("t")]
    return {int(line.get_gid()[1:]): [*zip(*line.get_data(), strict=True)] for line in lines}


def labels(axes):
    return {text.get_text() for text in axes.get_legend().get_texts()}


def test_each_trial_is_drawn_at_its_score_and_those_without_one_are_marked():
    found = made_up()
    (axes,) = search.history(found).axes
    drawn = marks(axes)
    assert sorted(drawn) == list(range(30))
    for trial in found.trials:
        if trial.score is not None:
            assert drawn[trial.number] == [(trial.number, trial.score)]
    best = {
        "best so far",
        f"best: trial {found.best}",
        "trained to the end",
        "stopped on the way",
        "infeasible or failed",
    }
    assert labels(axes) == {*best, "params.yaml: trial 0"}


def test_the_line_of_a_trial_ends_where_it_stopped_and_rungs_count_who_reached_them():
    found = made_up()
    (axes,) = search.rungs(found).axes
    ends = {number: places[-1] for number, places in marks(axes).items()}
    assert ends == {trial.number: (trial.epochs, trial.score) for trial in scored(found.trials)}
    reached = [sum(trial.epochs >= stop for trial in scored(found.trials)) for stop in (*STOPS, 40)]
    shown = [label.get_text() for label in axes.get_xticklabels()]
    assert shown == [
        f"{stop}\n{count} trial{'' if count == 1 else 's'}" for stop, count in zip((*STOPS, 40), reached, strict=True)
    ]


def test_importances_from_few_trials_are_called_so():
    few, many = (search.importances({"rate": 0.8}, trials).axes[0].get_xlabel() for trials in (12, 200))
    assert few.endswith("(12 trials; too few to rely on)")
    assert many.endswith("(200 trials)")


def test_a_slice_shows_the_trials_that_have_the_parameter():
    found = without_second_block(made_up())
    panels = dict(zip(found.space, search.slices(found).axes, strict=True))
    assert set(marks(panels[RATE])) == {trial.number for trial in scored(found.trials)}
    assert set(marks(panels[SECOND])) == {trial.number for trial in scored(found.trials) if trial.number % 3}
    assert [label.get_text() for label in panels[KERNEL].get_xticklabels()] == ["4", "6", "8", "12"]
    assert [label.get_text() for label in panels[RATE].get_xticklabels()] == ["0.003", "0.01", "0.03", "0.1"]
    choice = found.trials[1].params[KERNEL]
    assert marks(panels[KERNEL])[1] == [([4, 6, 8, 12].index(choice), found.trials[1].score)]


def test_a_line_goes_through_the_values_of_its_trial_and_below_what_it_does_not_have():
    found = without_second_block(made_up())
    (axes,) = search.parallel(found).axes
    heights = dict(zip([*found.space, "score"], [y for _, y in marks(axes)[found.best]], strict=True))
    best = found.trials[found.best]
    assert heights[RATE] == pytest.approx(np.log(best.params[RATE] / 0.003) / np.log(0.1 / 0.003))
    assert heights["score"] == 1
    assert heights[SECOND] == search.OFF
    assert heights[POOL] == (0.25 if best.params[POOL] == "max" else 0.75)


def test_a_table_has_the_best_score_of_two_values_and_of_how_many():
    found = made_up()
    (axes,) = search.by_two(found, KERNEL, POOL).axes
    at = {tuple(text.get_position()): text.get_text() for text in axes.texts}
    scores = [t.score for t in scored(found.trials) if (t.params[KERNEL], t.params[POOL]) == (8, "max")]
    assert at[0, 2] == f"{max(scores):.3f}\nof {len(scores)}"


def test_the_front_is_marked_and_the_others_are_not():
    found = with_objectives(made_up())
    (axes,) = search.pareto(found).axes
    assert "no other is better in all" in labels(axes)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("ms a frame", "accuracy")
    three = replace(
        found,
        trials=[
            replace(trial, values=[*trial.values, 1.0 * trial.number] if trial.values else []) for trial in found.trials
        ],
        objectives=[*found.objectives, "GB"],
        maximized=[True, False, False],
    )
    assert [axes.get_xlabel() for axes in search.pareto(three).axes] == ["ms a frame", "GB"]


def test_charts_are_those_that_the_search_has_something_for():
    found = made_up()
    assert list(search.charts(found)) == [
        *(
            "history",
            "rungs",
            "repeats",
            "importance",
            "slices",
            "parallel",
            "0_kernel_0_pool_window",
            "0_kernel_0_pool",
        )
    ]
    bare = replace(made_up(stops=[]), repeats={}, importances={}, space={RATE: found.space[RATE]})
    assert list(search.charts(bare)) == ["history", "slices", "parallel"]
    assert "pareto" in search.charts(with_objectives(found))
    assert search.charts(replace(found, trials=[t for t in found.trials if t.score is None])) == {}


@pytest.mark.parametrize("count", [1, 2])
def test_one_trial_or_two_are_drawn(count):
    found = replace(made_up(), repeats={})
    trials = [replace(found.trials[0], number=number, params=BASELINE) for number in range(count)]
    drawn = search.charts(replace(found, trials=trials, best=0))
    for _, figure in drawn.values():
        figure.draw_without_rendering()
