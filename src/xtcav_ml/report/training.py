"""The training: learning curves and warning signs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xtcav_ml import figures
from xtcav_ml.report.format import number, ranges
from xtcav_ml.report.results import Results
from xtcav_ml.science import warning_signs


@dataclass(frozen=True)
class Training:
    """The history of the evaluated training."""

    epochs: int  # 0 if there is no history
    best: int  # from 1; later than `epochs` if the history is another training's
    warnings: list[str]
    charts: dict[str, str]  # SVG by title


def warnings(history: Sequence[Mapping[str, float]], classes: Sequence[str]) -> list[str]:
    """Return the warning signs of the training, with their epochs."""
    signs: dict[str, list[int]] = {}
    for epoch, values in enumerate(history, start=1):
        for value in warning_signs.collapsed(values):
            label = classes[value] if value < len(classes) else str(value)
            sign = f"nearly all validation shots predicted as “{label}”; {warning_signs.EARLY}"
            signs.setdefault(sign, []).append(epoch)
        if warning_signs.vanished(values):
            signs.setdefault("vanishing gradient; see docs/training.md", []).append(epoch)
    return [f"Epoch {ranges(epochs)}: {sign}." for sign, epochs in signs.items()]


def training(results: Results) -> Training:
    """Return the learning curves."""
    history, best = results.history, results.metrics["best_epoch"]
    if best > len(history):
        return Training(len(history), best, [], {})
    charts = {}
    for name in figures.curves_of(history):
        kept = {key: value for key, value in history[best - 1].items() if key in (name, f"train_{name}", f"val_{name}")}
        values = ", ".join(f"{key} {number(value)}" for key, value in kept.items())
        title = figures.CURVES[name][0].upper() + figures.CURVES[name][1:]
        charts[title] = figures.svg(
            figures.learning_curves(history, best, [name]), f"{title}, by epoch; in the kept epoch {best}: {values}"
        )
    return Training(len(history), best, warnings(history, results.classes), charts)
