"""Tables of predictions, a row for each test shot -> what two or more runs are worth on the shots they have in common."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.science import metrics, significance
from xtcav_ml.science.significance import Difference
from xtcav_ml.system.errors import UserError

KEY = ("run", "run.index")
ACTUAL, PREDICTED = "actual", "predicted"
"""Columns of the truth and of what is said; of a number, each with its name after a space."""

PROBABILITY = "probability of "
"""Begins the name of a class's column."""

REAL = 0.05
"""A p-value below which a difference counts as real."""

Rows = Mapping[tuple[str, ...], Mapping[str, str]]
"""A table: what stands in each column, as text, by shot."""


@dataclass(frozen=True)
class Predictions:
    """What one run says, column by column as text, of the shots that all runs have in common."""

    name: str
    shots: int  # of the run, in common or not
    columns: dict[str, list[str]]

    def classes(self) -> list[str]:
        """Return the names of the classes, in the order of their numbers."""
        return [name.removeprefix(PROBABILITY) for name in self.columns if name.startswith(PROBABILITY)]

    def floats(self, column: str) -> NDArray[np.float64]:
        """Return a column (shots,) as numbers. Raises UserError if it holds others."""
        try:
            return np.array(self.columns[column], np.float64)
        except ValueError as error:
            raise UserError(
                f"{self.name}: column {column!r} must hold numbers, got {str(error)!r}; name a table that evaluate wrote"
            ) from None

    def learned(self) -> list[str]:
        """Return what the run learned: `classes` and the numbers."""
        classes = ["classes"] if {ACTUAL, PREDICTED} <= self.columns.keys() else []
        told = [name.removeprefix(f"{PREDICTED} ") for name in self.columns if name.startswith(f"{PREDICTED} ")]
        return classes + [name for name in told if f"{ACTUAL} {name}" in self.columns]


def read(name: str, text: str) -> Rows:
    """Return the table of predictions that `text` holds; `name` is for the error. Raises UserError if it is none."""
    table = list(csv.DictReader(text.splitlines()))
    rows = {tuple(row.get(column) or "" for column in KEY): row for row in table}
    broken = [f"a broken line {line}" for line, row in enumerate(table, start=2) if None in row or None in row.values()]
    faults = [] if table else ["no shots"]
    faults += [f"no column {column!r}" for column in KEY if table and column not in table[0]]
    faults += broken + (["a shot twice"] if len(rows) < len(table) else [])
    if faults:
        raise UserError(
            f"{name}: must be a table of predictions, a row for each shot, got {faults[0]}; name one that evaluate wrote"
        )
    return rows


def whole(name: str, text: str) -> Predictions:
    """Return the one run that `text` holds. Raises as `read`."""
    return _in_common([(name, read(name, text))])[0]


def compare(tables: Sequence[tuple[str, Rows]]) -> dict[str, Any]:
    """Return what two or more runs (name, table) are worth on their common test shots, and each against the first.

    Raises UserError if they have no shot in common, have not learned the same, or their labels differ.
    """
    runs = _in_common(tables)
    learned = [name for name in runs[0].learned() if all(name in one.learned() for one in runs)]
    if not learned:
        raise UserError(
            f"{', '.join(one.name for one in runs)}: must have learned the same, got "
            f"{' and '.join(str(one.learned()) for one in runs)}; "
            "compare runs with prepare.label, or a number of prepare.regression, in common"
        )
    found: dict[str, Any] = {
        "shots": len(runs[0].columns[KEY[0]]),
        "runs": [{"run": one.name, "shots": one.shots, "learned": one.learned()} for one in runs],
        "comparisons": [],
    }
    for name in learned:
        (_compare_classes if name == "classes" else _compare_number)(runs, name, found)
    return found


def _in_common(tables: Sequence[tuple[str, Rows]]) -> list[Predictions]:
    """Return what each run says of the shots that are in all tables. Raises UserError if there are none."""
    first = tables[0][1]
    shots = [shot for shot in first if all(shot in rows for _, rows in tables)]
    if not shots:
        raise UserError(
            f"{', '.join(name for name, _ in tables)}: must have test shots ({', '.join(KEY)}) in common, got none; evaluate "
            "them on the same data and split"
        )
    return [
        Predictions(name, len(rows), {column: [rows[shot][column] for shot in shots] for column in rows[shots[0]]})
        for name, rows in tables
    ]


def _compare_classes(runs: Sequence[Predictions], name: str, found: dict[str, Any]) -> None:
    """Add each run's accuracy to `found`, and its comparison with the first."""
    truth = runs[0].columns[ACTUAL]
    right = []
    for one in runs:
        _require_same(runs[0], one, ACTUAL, [a != b for a, b in zip(truth, one.columns[ACTUAL], strict=True)])
        right.append(np.array([a == b for a, b in zip(truth, one.columns[PREDICTED], strict=True)]))
    for row, hits in zip(found["runs"], right, strict=True):
        low, high = metrics.wilson_interval(int(hits.sum()), len(hits))
        row |= {"accuracy": float(hits.mean()), "accuracy_low": low, "accuracy_high": high}
    pairs = [significance.accuracies(right[0], hits) for hits in right[1:]]
    differences = [pair.difference for pair in pairs]
    entries = _entries(
        runs, "accuracy", differences, lambda value: f"{100 * value:+.1f}", " points", more_is_better=True
    )
    for entry, pair in zip(entries, pairs, strict=True):
        counts = {
            "both": pair.both,
            "only_first": pair.only_first,
            "only_run": pair.only_second,
            "neither": pair.neither,
        }
        found["comparisons"].append({**entry, "right": counts})


def _compare_number(runs: Sequence[Predictions], name: str, found: dict[str, Any]) -> None:
    """Add each run's mean absolute error of number `name` to `found`, and its comparison; nothing if no shot has it."""
    truth = runs[0].floats(f"{ACTUAL} {name}")
    known = np.isfinite(truth)
    if not known.any():
        return
    errors = []
    for one in runs:
        column = f"{ACTUAL} {name}"
        _require_same(runs[0], one, column, list(~np.isclose(truth, one.floats(column), rtol=1e-5, equal_nan=True)))
        errors.append((one.floats(f"{PREDICTED} {name}") - truth)[known])
    for row, error in zip(found["runs"], errors, strict=True):
        row.setdefault("mean_absolute_error", {})[name] = float(np.abs(error).mean())
    differences = [significance.absolute_errors(errors[0], error) for error in errors[1:]]
    measure = f"mean absolute error of {name}"
    found["comparisons"] += _entries(
        runs, measure, differences, lambda value: f"{value:+.3g}", "", more_is_better=False
    )


def _entries(
    runs: Sequence[Predictions],
    measure: str,
    differences: Sequence[Difference],
    text: Callable[[float], str],
    unit: str,
    *,
    more_is_better: bool,
) -> list[dict[str, Any]]:
    """Return the comparisons of all runs but the first with it, by one measure, each with its verdict in a sentence."""
    entries = []
    raised = significance.holm([found.p for found in differences])
    for one, found, p in zip(runs[1:], differences, raised, strict=True):
        said, names, better = found, (one.name, runs[0].name), None
        if p >= REAL:
            sentence = f"no real difference between {names[1]} and {names[0]}"
        else:
            if (found.value > 0) != more_is_better:  # the first is better: said of the better one
                names = names[::-1]
                said = replace(found, value=-found.value, low=-found.high, high=-found.low)
            better = names[0]
            sentence = f"{better} is better than {names[1]}"
        interval = f"95 % interval {text(said.low)} to {text(said.high)}"
        several = f", corrected for {len(differences)} comparisons" if len(differences) > 1 else ""
        sentence += f": {measure} {text(said.value)}{unit}, {interval}, p = {p:.2g}{several}"
        entries.append(
            {
                "first": runs[0].name,
                "run": one.name,
                "measure": measure,
                "difference": found.value,
                "low": found.low,
                "high": found.high,
                "p": found.p,
                "p_holm": p,
                "better": better,
                "verdict": sentence,
            }
        )
    return entries


def _require_same(first: Predictions, other: Predictions, column: str, differs: Sequence[bool]) -> None:
    if any(differs):
        raise UserError(
            f"{other.name}: column {column!r} must be the same as of {first.name}, got {sum(differs):,} of {len(differs):,} "
            "common shots that differ; evaluate both on the same labels"
        )
