"""Signs of trouble in the values of an epoch."""

from collections.abc import Mapping, Sequence

from xtcav_ml.science.metric_names import predicted

COLLAPSED = 0.99  # fraction of the validation shots: a network that predicts one class for more has learned nothing
VANISHED = 1e-7  # a gradient norm below which the weights stand still


def warning_signs(values: Mapping[str, float], classes: Sequence[str]) -> list[str]:
    """Return a line for each sign of trouble in an epoch's `values`: its last gradient, and the predicted `classes`."""
    signs = [
        f"nearly all validation shots predicted as “{label}”; normal in the first epochs; if it persists, see docs/training.md"
        for label in classes
        if values.get(predicted(label), 0.0) >= COLLAPSED
    ]
    vanished = values.get("gradient_norm", 1.0) < VANISHED
    return signs + (["vanishing gradient; see docs/training.md"] if vanished else [])
