"""Score of an epoch, and the choice of the best one."""

from collections.abc import Collection, Mapping, Sequence


def score(row: Mapping[str, float]) -> float:
    """Return the score of an epoch, higher is better.

    `val_accuracy` where classes are learned, minus `val_squared_error` where numbers are, minus `val_loss` where both are.
    """
    name = score_name(row)
    return -row[name[1:]] if name.startswith("-") else row[name]


def score_name(row: Collection[str]) -> str:
    """Return the name of the score of epochs with these values: that of a metric, with a minus if less of it is better."""
    if "val_squared_error" not in row:
        return "val_accuracy"
    return "-val_loss" if "val_accuracy" in row else "-val_squared_error"


def best(history: Sequence[Mapping[str, float]]) -> int:
    """Return the epoch (from 1) to keep: highest score, then lowest `val_cross_entropy`, then the earliest."""
    scores = [(score(row), -row.get("val_cross_entropy", 0.0)) for row in history]
    return scores.index(max(scores)) + 1
