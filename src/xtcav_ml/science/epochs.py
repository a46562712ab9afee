"""Scores of epochs, and the choice of the one whose weights are kept.

A smoothed error on the validation shots decides, not their accuracy, nor the error of one epoch: both jump, and the best of
many jumps is the luckiest one, before the learning rate has fallen.
"""

from collections.abc import Collection, Mapping, Sequence

SMOOTHED = 5  # epochs, up to the one that is scored, over which its criterion is averaged


def criterion(row: Collection[str]) -> str:
    """Return the value of an epoch, of those named, of which less is better.

    `val_cross_entropy` where classes are learned, `val_squared_error` where numbers are, `val_loss` where both are.
    """
    if "val_squared_error" not in row:
        return "val_cross_entropy"
    return "val_loss" if "val_cross_entropy" in row else "val_squared_error"


def scores(history: Sequence[Mapping[str, float]]) -> list[float]:
    """Return the score of each epoch, higher is better: minus the mean of the `criterion` over SMOOTHED epochs.

    These are the epoch and those before it; the first epochs have fewer.
    """
    errors = [row[criterion(row)] for row in history]
    windows = [errors[max(0, end - SMOOTHED) : end] for end in range(1, len(errors) + 1)]
    return [-sum(window) / len(window) for window in windows]


def best(history: Sequence[Mapping[str, float]]) -> int:
    """Return the epoch (from 1) to keep: that of the highest score, the earliest of equal ones."""
    found = scores(history)
    return found.index(max(found)) + 1


def described(row: Collection[str]) -> str:
    """Return what the kept epoch has the lowest of, in words."""
    return f"mean {criterion(row)} of {SMOOTHED} epochs"
