"""The training: learning curves, and what was suspicious."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xtcav_ml import figures
from xtcav_ml.report.format import number, ranges
from xtcav_ml.report.results import Results
from xtcav_ml.science import warning_signs


@dataclass(frozen=True)
class Training:
    """What the epochs of the training that was evaluated have left."""

    epochs: int  # 0 if there is no history
    best: int  # from 1; later than `epochs` if the history is another training's
    warnings: list[str]
    charts: dict[str, str]  # SVG by title


def warnings(history: Sequence[Mapping[str, float]], classes: Sequence[str]) -> list[str]:
    """Return what was suspicious in the training, with the epochs."""
    seen: dict[str, list[int]] = {}
    for epoch, values in enumerate(history, start=1):
        for value in warning_signs.collapsed(values):
            label = classes[value] if value < len(classes) else str(value)
            seen.setdefault(f"nearly all validation shots predicted as “{label}”; {warning_signs.EARLY}", []).append(
                epoch
            )
        if warning_signs.vanished(values):
            seen.setdefault("vanishing gradient; see docs/training.md", []).append(epoch)
    return [f"Epoch {ranges(epochs)}: {what}." for what, epochs in seen.items()]


def training(results: Results) -> Training:
    """Return the learning curves."""
    history, best = results.history, results.metrics["best_epoch"]
    if best > len(history):
        return Training(len(history), best, [], {})
    charts = {}
    for name in figures.curves_of(history):
        kept = {key: value for key, value in history[best - 1].items() if key in (name, f"train_{name}", f"val_{name}")}
        values = ", ".join(f"{key} {number(value)}" for key, value in kept.items())
        figure = figures.learning_curves(history, best, [name])
        title = figures.CURVES[name]
        title = title[0].upper() + title[1:]
        charts[title] = figures.svg(figure, f"{title}, by epoch; in the kept epoch {best}: {values}")
    return Training(len(history), best, warnings(history, results.classes), charts)
