"""Signs of trouble in the values of an epoch."""

from collections.abc import Mapping

COLLAPSED = 0.99  # fraction of the validation shots: a network that predicts one class for more has learned nothing
VANISHED = 1e-7  # a gradient norm below which the weights stand still

EARLY = "normal in the first epochs; if it persists, see docs/training.md"


def collapsed(values: Mapping[str, float]) -> list[int]:
    """Return the number of the class that is predicted for nearly all validation shots, in a list; empty if none is."""
    shares = {name: share for name, share in values.items() if name.startswith("val_predicted_")}
    return [int(name.removeprefix("val_predicted_")) for name, share in shares.items() if share >= COLLAPSED]


def vanished(values: Mapping[str, float]) -> bool:
    """Return whether the gradient of the epoch's last step was as good as zero."""
    return values.get("gradient_norm", 1.0) < VANISHED
