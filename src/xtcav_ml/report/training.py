"""The training: learning curves and warning signs."""

from collections.abc import Mapping, Sequence
from typing import Any

from xtcav_ml.figures import training as charts_of
from xtcav_ml.figures.drawing import svg
from xtcav_ml.report.format import number, ranges
from xtcav_ml.report.results import Results
from xtcav_ml.science.epochs import described
from xtcav_ml.science.warning_signs import warning_signs


def warnings(history: Sequence[Mapping[str, float]], classes: Sequence[str], best: int) -> list[str]:
    """Return the warning signs that the training had in its kept epoch `best` or later, with all their epochs.

    Those of before are no fault: a network sits at chance in its first epochs.
    """
    signs: dict[str, list[int]] = {}
    for epoch, values in enumerate(history, start=1):
        for sign in warning_signs(values, classes):
            signs.setdefault(sign, []).append(epoch)
    return [f"Epoch {ranges(epochs)}: {sign}." for sign, epochs in signs.items() if epochs[-1] >= best]


def training_section(results: Results) -> dict[str, Any]:
    """Return the number of epochs, the best one and its criterion, warnings, and learning curves (SVG by title).

    There are no curves if the best epoch is not in the history, which is then missing or another training's.
    """
    history, best = results.history, results.metrics["best_epoch"]
    charts = {}
    for name in charts_of.curves_of(history) if best <= len(history) else ():
        kept = {key: value for key, value in history[best - 1].items() if key in (name, f"train_{name}", f"val_{name}")}
        values = ", ".join(f"{key} {number(value)}" for key, value in kept.items())
        title = charts_of.CURVE_STYLES[name][0].upper() + charts_of.CURVE_STYLES[name][1:]
        charts[title] = svg(
            charts_of.learning_curves(history, best, [name]), f"{title}, by epoch; in the kept epoch {best}: {values}"
        )
    signs = warnings(history, results.classes, best)
    criterion = described(history[0]) if history else ""
    return {"epochs": len(history), "best": best, "criterion": criterion, "warnings": signs, "charts": charts}
