from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.figures.searches import KERNEL, POOL, SECOND, SPACE, WINDOW, made_up
from xtcav_ml.science import search


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train.optimizer.learning_rate", "train.seed"], ["learning_rate", "seed"]),
        (["train.model.blocks.0.kernel", "train.model.blocks.1.kernel"], ["0.kernel", "1.kernel"]),
        (["train.optimizer.name", "train.model.name"], ["optimizer.name", "model.name"]),
        (["a.0.x", "b.0.x"], ["a.0.x", "b.0.x"]),
        (["epochs"], ["epochs"]),
    ],
)
def test_names_are_as_short_as_tells_them_apart(names, expected):
    assert list(search.shortened(names).values()) == expected


def test_trials_that_went_further_come_first_and_those_without_a_score_do_not():
    found = search.scored(made_up().trials)
    assert [trial.epochs for trial in found] == sorted((trial.epochs for trial in found), reverse=True)
    scores = [trial.score for trial in found if trial.epochs == 2]
    assert scores == sorted(scores, reverse=True)
    assert {trial.state for trial in found} == {"complete", "pruned"}
    failed = replace(found[0], state="failed")
    assert failed not in search.scored([failed])


def test_the_front_is_what_no_other_beats():
    points = [[0.9, 5.0], [0.8, 1.0], [0.85, 5.0], [0.7, 2.0], [0.9, 5.0]]
    assert search.front(points, [True, False]) == [0, 1, 4]
    assert search.front(points, [False, False]) == [1, 3]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1))
def test_each_point_is_on_the_front_or_beaten_by_one_that_is(points):
    on = search.front(points, [True, True])
    for i, (x, y) in enumerate(points):
        beaten = any(a >= x and b >= y and (a, b) != (x, y) for a, b in (points[k] for k in on))
        assert beaten == (i not in on)


def test_kernels_meet_the_pooling_of_their_own_block():
    assert search.pairs(SPACE) == [(KERNEL, WINDOW), (KERNEL, POOL)]
    assert search.pairs({SECOND: SPACE[SECOND], POOL: SPACE[POOL]}) == []
