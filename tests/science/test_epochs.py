import numpy as np
import pytest

from xtcav_ml.science import epochs


def history(errors, accuracies=None):
    accuracies = accuracies or [0.5] * len(errors)
    return [{"val_accuracy": a, "val_cross_entropy": e} for a, e in zip(accuracies, errors, strict=True)]


def test_the_kept_epoch_ends_the_five_of_the_lowest_mean_error_and_is_the_first_of_equal_ones():
    assert epochs.best(history([1.0, 0.25, 0.5, 0.5, 0.5, 0.25, 0.25, 0.5, 0.75])) == 6
    assert epochs.best(history([1.0])) == 1
    assert epochs.scores(history([6.0, 2.0, 1.0, 1.0, 1.0, 1.0, 3.0])) == [-6.0, -4.0, -3.0, -2.5, -2.2, -1.2, -1.4]


@pytest.mark.parametrize("lucky", range(8))
def test_an_accuracy_or_an_error_that_jumps_does_not_change_the_kept_epoch(lucky):
    errors = [1.4, 1.0, 0.8, 0.6, 0.5, 0.45, 0.42, 0.42, 0.41, 0.41]
    accuracies = [0.5 + 0.5 * (i == lucky) for i in range(10)]
    errors[lucky] *= 0.95
    assert epochs.best(history(errors, accuracies)) == 10


def test_the_kept_epoch_of_noise_about_a_level_is_not_the_luckiest_one():
    errors = 0.4 + 0.1 * np.random.default_rng(0).standard_normal((200, 24))
    errors[:, :4] += 1  # it learns
    luck = [0.4 - errors[i, epochs.best(history(row)) - 1] for i, row in enumerate(errors.tolist())]
    assert np.mean(luck) < np.mean(0.4 - errors.min(axis=1)) / 2


@pytest.mark.parametrize(
    ("names", "criterion"),
    [
        (["val_accuracy", "val_cross_entropy", "val_loss"], "val_cross_entropy"),
        (["val_squared_error", "val_loss"], "val_squared_error"),
        (["val_accuracy", "val_cross_entropy", "val_squared_error", "val_loss"], "val_loss"),
    ],
)
def test_the_criterion_is_the_error_of_what_is_learned(names, criterion):
    row = {name: 0.1 * number for number, name in enumerate(names)}
    assert epochs.criterion(row) == criterion
    assert epochs.scores([row]) == [-row[criterion]]
    assert epochs.described(row) == f"mean {criterion} of 5 epochs"
