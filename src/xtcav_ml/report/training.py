"""The section on the training: learning curves, and what was suspicious."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from xtcav_ml import metrics
from xtcav_ml.report.charts import Chart, span
from xtcav_ml.report.markup import Markup, Section, grid, missing, paragraph, section
from xtcav_ml.report.results import Results
from xtcav_ml.report.wording import number, ranges

COLLAPSED, VANISHED = 0.99, 1e-7
"""As the train stage warns: a class that so many validation shots are predicted as, and the length of a gradient."""

CURVES = {
    "accuracy": "accuracy",
    "cross_entropy": "cross-entropy, nats",
    "squared_error": "squared error, spread²",
    "loss": "loss, what is minimized",
}
"""Values of an epoch that are drawn for both sets, where they are there."""


def warnings(history: Sequence[Mapping[str, float]], classes: Sequence[str]) -> list[str]:
    """Return what was suspicious in the training, with the epochs."""
    found: dict[str, list[int]] = {}
    for epoch, values in enumerate(history, start=1):
        for name, share in values.items():
            if name.startswith("val_predicted_") and share >= COLLAPSED:
                value = int(name.removeprefix("val_predicted_"))
                label = classes[value] if value < len(classes) else str(value)
                found.setdefault(f"nearly all validation shots were predicted as “{label}”", []).append(epoch)
        if values.get("gradient_norm", 1.0) < VANISHED:
            found.setdefault("the gradient had vanished", []).append(epoch)
    first = "; usual for the first epochs, later see docs/training.md"
    return [f"Epoch {ranges(epochs)}: {what}{first}" for what, epochs in found.items()]


def training(results: Results) -> Section:
    """Return the learning curves."""
    history = results.history
    if not history:
        what = "results/history.jsonl is not here: `dvc pull` or `make repro` brings it."
        return section("training", "Training", missing(what))
    best = metrics.best_epoch(history)
    epochs = np.arange(1, len(history) + 1)
    charts: list[Markup] = []
    for name, label in CURVES.items():
        both = {of: _column(history, f"{key}_{name}") for of, key in (("training", "train"), ("validation", "val"))}
        if name == "loss" and len(charts) and np.allclose(both["validation"], _column(history, "val_cross_entropy")):
            continue  # the same curve again
        if np.isfinite(both["validation"]).any():
            charts.append(_curves(label, epochs, both, best))
    charts.append(
        _curves("learning rate", epochs, {"learning rate": _column(history, "learning_rate")}, best, zero=True)
    )
    gradient = _column(history, "gradient_norm")
    if np.isfinite(gradient).any():
        charts.append(
            _curves("length of the gradient", epochs, {"last gradient of the epoch": gradient}, best, zero=True)
        )
    kept = f"{len(history)} epochs; the network of epoch {best}, which did best on the validation shots, was kept."
    notes = [paragraph(warning, class_="warning") for warning in warnings(history, results.classes)]
    return section("training", "Training", paragraph(kept), *notes, grid(*charts))


def _curves(
    label: str, epochs: NDArray[np.int64], series: Mapping[str, NDArray[np.float64]], best: int, *, zero: bool = False
) -> Markup:
    low, high = span(*series.values(), zero=zero)
    chart = Chart("epoch", label, (1.0, float(max(len(epochs), 2))), (low, high))
    chart.rule((best, low), (best, high), f"kept: {best}")
    for name, values in series.items():
        chart.line(name, epochs, values)
    said = ", ".join(f"{name} {number(values[best - 1])}" for name, values in series.items())
    return chart.figure(label[0].upper() + label[1:], f"by epoch; in epoch {best}, which was kept: {said}")


def _column(history: Sequence[Mapping[str, float]], name: str) -> NDArray[np.float64]:
    return np.array([row.get(name, np.nan) for row in history], np.float64)
