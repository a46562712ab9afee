"""Names of metrics, one each: the same in files, in MLflow, in DVC's tables and in the documents.

A metric of an epoch begins with `train_` or `val_`, and one of the test set with neither. A point precedes the name of a class.
MLflow would begin a section of its page of charts with what stands before a slash, above the accuracy.
"""

HEADLINE = ("accuracy", "accuracy_low", "accuracy_high", "cross_entropy")
"""Of the test set: those that stand for all of them in a table."""


def predicted(label: str) -> str:
    """Return the name of the fraction of the validation shots that is predicted as a class."""
    return f"val_predicted.{label}"


def confused(label: str, other: str) -> str:
    """Return the name of the number of validation shots of class `label` that are predicted as `other`."""
    return f"val_confusion.{label} as {other}"
