"""Tables of a search beside its live one: the Pareto front, and what is borrowed from earlier studies."""

from collections.abc import Iterable, Sequence
from typing import Any

from optuna.trial import FrozenTrial
from rich.table import Table

from xtcav_ml.system.progress import titled_table
from xtcav_ml.tuning import objectives, warm
from xtcav_ml.tuning.live_table import short

SHOWN = 5  # borrowed trials


def front_table(front: Sequence[FrozenTrial], names: Sequence[str]) -> Table:
    """Return the trials of the front of the objectives `names`."""
    parameters = _names(trial.params for trial in front)
    costs = [objectives.UNITS[name] for name in names[1:]]
    rows = _table(
        "Pareto front: no trial is better in one of these and as good in the others",
        ["trial", "score", *costs],
        parameters,
    )
    for trial in front:
        rows.add_row(
            str(trial.number), *map(_text, trial.values), *(_text(trial.params.get(name, "")) for name in parameters)
        )
    return rows


def borrowed_table(borrowed: Sequence[warm.Borrowed]) -> Table:
    """Return the best of the trials that a study has borrowed."""
    parameters = _names(one["params"] for one in borrowed)
    rows = _table(f"Borrowed for the start-up: the best of {warm.in_words(borrowed)}", ["study", "trial"], parameters)
    for one in sorted(borrowed, key=lambda one: -one["ranks"][0])[:SHOWN]:
        rows.add_row(one["study"], str(one["trial"]), *(_text(one["params"].get(name, "")) for name in parameters))
    return rows


def _names(values: Iterable[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for params in values for name in params))


def _table(title: str, headings: Sequence[str], parameters: Sequence[str]) -> Table:
    return titled_table(title, [*headings, *(short(name).replace("_", "\n") for name in parameters)], {"study"})


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
