"""The section on the training: learning curves, and what was suspicious."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

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
                what = f"nearly all validation shots were predicted as “{label}”; usual for the first epochs, later see"
                found.setdefault(what, []).append(epoch)
        if values.get("gradient_norm", 1.0) < VANISHED:
            found.setdefault("the gradient had vanished; see", []).append(epoch)
    return [f"Epoch {ranges(epochs)}: {what} docs/training.md." for what, epochs in found.items()]


def training(results: Results) -> Section:
    """Return the learning curves."""
    history = results.history
    if not history:
        what = "results/history.jsonl is not here: `dvc pull --with-deps evaluate` or `make repro` brings it."
        return section("training", "Training", missing(what))
    best = results.metrics["best_epoch"]
    if best > len(history):
        what = "results/history.jsonl is of a later training than results/metrics.json: `make repro` evaluates it."
        return section("training", "Training", missing(what))
    epochs = np.arange(1, len(history) + 1)
    charts: list[Markup] = []
    for name, label in CURVES.items():
        if f"val_{name}" in history[0] and (name != "loss" or _has_parts(history[0])):
            both = {"training": _column(history, f"train_{name}"), "validation": _column(history, f"val_{name}")}
            charts.append(_curves(label, epochs, both, best))
    for name, label in {"learning_rate": "learning rate", "gradient_norm": "length of the last gradient"}.items():
        if name in history[0]:
            charts.append(_curves(label, epochs, {"": _column(history, name)}, best, zero=True))
    kept = f"{len(history)} epochs; the network of epoch {best}, which did best on the validation shots, was kept."
    notes = [paragraph(warning, class_="warning") for warning in warnings(history, results.classes)]
    return section("training", "Training", paragraph(kept), *notes, grid(*charts))


def _has_parts(epoch: Mapping[str, float]) -> bool:
    """Return whether the loss is more than one of the other curves."""
    return "regularization" in epoch or {"val_cross_entropy", "val_squared_error"} <= epoch.keys()


def _curves(
    label: str, epochs: NDArray[np.int64], series: Mapping[str, NDArray[np.float64]], best: int, *, zero: bool = False
) -> Markup:
    low, high = span(*series.values(), zero=zero)
    chart = Chart("epoch", label, (1.0, float(max(len(epochs), 2))), (low, high))
    chart.rule((best, low), (best, high), f"kept: {best}")
    for name, values in series.items():
        chart.line(name, epochs, values)
    said = ", ".join(f"{name} {number(values[best - 1])}".strip() for name, values in series.items())
    return chart.figure(label[0].upper() + label[1:], f"by epoch; in epoch {best}, which was kept: {said}")


def _column(history: Sequence[Mapping[str, float]], name: str) -> NDArray[np.float64]:
    return np.array([row.get(name, np.nan) for row in history], np.float64)
