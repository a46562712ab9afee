"""The accuracy that labels drawn again allow: known answers, no bias, and above that of any prediction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtcav_ml.science import ceiling


def drawn(shots, classes, draws, seed=0):
    """Chances of each class, and how often each is drawn."""
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet(np.full(classes, 0.7), shots)
    return chances, rng.multinomial(draws, chances)


def test_certain_labels_can_all_be_right():
    found = ceiling.bayes_accuracy(np.array([[9, 0], [0, 4]]))
    assert (found.value, found.low, found.high) == (1, 1, 1)
    expected = ceiling.expected_accuracy(np.array([[9, 0], [0, 4]]), np.array([0, 0]))
    assert expected.value == 0.5
    assert (expected.low, expected.high) == (0, 1)


def test_a_draw_is_never_compared_with_a_choice_that_it_has_influenced():
    assert ceiling.bayes_accuracy(np.array([[1, 1]])).value == 0  # the other draw is always the other label
    assert ceiling.bayes_accuracy(np.array([[2, 1]])).value == pytest.approx((2 * 0.5 + 0) / 3)  # a tie counts in parts
    assert ceiling.bayes_accuracy(np.array([[3, 1]])).value == pytest.approx(3 / 4)


def test_shots_without_draws_are_left_out():
    redrawn = np.array([[5, 0], [0, 0], [1, 0]])
    assert ceiling.bayes_accuracy(redrawn).value == 1  # of the first alone: the last has nothing to choose by
    assert ceiling.expected_accuracy(redrawn, np.array([1, 1, 0])).value == 0.5
    for nothing in (
        ceiling.bayes_accuracy(np.zeros((2, 3), int)),
        ceiling.expected_accuracy(np.zeros((0, 3), int), np.zeros(0, int)),
    ):
        assert np.isnan([nothing.value, nothing.low, nothing.high]).all()


def test_two_labels_have_the_accuracy_of_the_binomial_distribution():
    # of three draws two decide; equal ones are right in half of the cases: 0.7 * 0.7 + 0.3 * 0.3 + 2 * 0.7 * 0.3 / 2 ...
    redrawn = np.random.default_rng(1).multinomial(3, [0.7, 0.3], 200_000)
    right = 0.7**2 * 0.7 + 0.3**2 * 0.3 + 2 * 0.7 * 0.3 * 0.5
    assert ceiling.bayes_accuracy(redrawn).value == pytest.approx(right, abs=0.003)


def test_many_draws_give_the_chance_of_the_likeliest_label():
    chances, redrawn = drawn(20_000, 4, 64)
    few, many = (ceiling.bayes_accuracy(drawn(20_000, 4, count)[1]).value for count in (16, 1024))
    assert few < ceiling.bayes_accuracy(redrawn).value < many + 0.002  # who knows fewer draws chooses worse
    assert many == pytest.approx(chances.max(axis=1).mean(), abs=0.004)
    said = chances.argsort(axis=1, kind="stable")[:, -2]
    second = chances[np.arange(len(said)), said].mean()
    assert ceiling.expected_accuracy(redrawn, said).value == pytest.approx(second, abs=0.004)


def test_the_interval_holds_the_mean_over_all_shots_as_often_as_it_says():
    true = drawn(200_000, 4, 1)[0].max(axis=1).mean()
    found = [ceiling.bayes_accuracy(drawn(300, 4, 128, seed)[1]) for seed in range(1, 201)]
    assert 0.9 < np.mean([share.low <= true <= share.high for share in found]) < 0.99


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(2, 5), st.integers(2, 30))
def test_no_prediction_is_expected_to_be_better_than_the_choice_from_the_same_draws(seed, shots, classes, draws):
    redrawn = drawn(shots, classes, draws, seed)[1]
    best, found = ceiling.expected_accuracy(redrawn, redrawn.argmax(axis=1)), ceiling.bayes_accuracy(redrawn)
    assert found.value <= best.value + 1e-9
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_only_predictions_that_know_the_noise_of_the_labels_are_luckier_than_chance():
    scores, known = [], []
    for seed in range(200):
        chances, redrawn = drawn(400, 4, 40, seed)
        labels = np.random.default_rng([1, seed]).multinomial(1, chances).argmax(axis=1)
        said = chances.argmax(axis=1)
        luck, score = ceiling.label_luck(redrawn, labels, said)
        right = ceiling.expected_accuracy(redrawn, said).value
        assert luck.value == pytest.approx((labels == said).mean() - right)
        scores.append(score)
        known.append(ceiling.label_luck(redrawn, labels, np.where(np.arange(400) < 100, labels, said))[1])
    assert np.mean(scores) == pytest.approx(0, abs=0.25)
    assert np.std(scores) == pytest.approx(1, abs=0.15)
    assert max(scores) < 4
    assert min(known) > 3  # a quarter of the labels known


def test_a_few_shots_with_certain_labels_are_no_surprise():
    nothing = ceiling.label_luck(np.zeros((2, 2), int), np.array([0, 1]), np.array([0, 1]))
    assert nothing[1] == 0
    luck, score = ceiling.label_luck(np.full((4, 2), 5), np.array([0, 1, 0, 1]), np.array([0, 1, 0, 1]))
    assert (luck.value, luck.low) == (0.5, 0.5)  # four coins, all foreseen
    assert 1.5 < score < 2
