"""Score of an epoch, and the choice of the best one."""

from collections.abc import Mapping, Sequence


def score(row: Mapping[str, float]) -> float:
    """Return the score of an epoch, higher is better.

    `val_accuracy` where classes are learned, minus `val_squared_error` where numbers are, minus `val_loss` where both are.
    """
    if "val_squared_error" not in row:
        return row["val_accuracy"]
    return -row["val_loss" if "val_accuracy" in row else "val_squared_error"]


def best(history: Sequence[Mapping[str, float]]) -> int:
    """Return the epoch (from 1) to keep: highest score, then lowest `val_cross_entropy`, then the earliest."""
    scores = [(score(row), -row.get("val_cross_entropy", 0.0)) for row in history]
    return scores.index(max(scores)) + 1
