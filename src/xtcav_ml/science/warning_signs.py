"""Signs in an epoch's values that a training goes wrong."""

from collections.abc import Mapping

COLLAPSED = 0.99
"""A share of the validation shots: a network that predicts one class for so many has learned nothing."""

VANISHED = 1e-7
"""A gradient norm below which the weights stand still."""

EARLY = "normal in the first epochs; if it persists, see docs/training.md"


def collapsed(values: Mapping[str, float]) -> list[int]:
    """Return the classes, by number, that nearly all validation shots are predicted as: one, or none."""
    shares = {name: share for name, share in values.items() if name.startswith("val_predicted_")}
    return [int(name.removeprefix("val_predicted_")) for name, share in shares.items() if share >= COLLAPSED]


def vanished(values: Mapping[str, float]) -> bool:
    """Return whether the gradient of the epoch's last step was as good as zero."""
    return values.get("gradient_norm", 1.0) < VANISHED
