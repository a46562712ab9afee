"""Tables of predictions, a row for each test shot -> the results of two or more runs on their common shots."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.schema import EVENT_KEY
from xtcav_ml.science import metrics, significance
from xtcav_ml.science.significance import Difference
from xtcav_ml.science.thresholds import INTERVAL, SIGNIFICANT
from xtcav_ml.system.errors import UserError, reading

RUN_KEY = ("run", "run.index")
"""Identifies a shot within one experiment. Tables are matched by it only if one of them was written without event keys."""

ACTUAL, PREDICTED = "actual", "predicted"
"""Columns of the truth and of the prediction; of a number, each followed by a space and its name."""

PROBABILITY = "probability of "  # prefix of the column of a class

CURE = "use a predictions.csv that evaluate wrote"
TableRows = Sequence[Mapping[str, str]]  # a table as text: for each shot its values by column


@dataclass(frozen=True)
class Predictions:
    """The predictions of one run for the shots that all runs have in common, column by column as text."""

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
                f"{self.name}: column {column!r} is damaged (found {str(error)!r}, expected numbers). Fix: {CURE}"
            ) from None

    def learned(self) -> list[str]:
        """Return the names of the quantities that the run learned: `classes` and the numbers."""
        classes = ["classes"] if {ACTUAL, PREDICTED} <= self.columns.keys() else []
        numbers = [name.removeprefix(f"{PREDICTED} ") for name in self.columns if name.startswith(f"{PREDICTED} ")]
        return classes + [name for name in numbers if f"{ACTUAL} {name}" in self.columns]


def read_rows(name: str, text: str) -> TableRows:
    """Return the table of predictions that `text` holds; `name` is for the error. Raises UserError if it is none."""
    with reading(name, "a row for each shot", CURE, (csv.Error,)):
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    faults = [f"no column {column!r}" for column in RUN_KEY if rows and column not in rows[0]]
    faults += [f"a broken line {line}" for line, row in enumerate(rows, start=2) if None in row or None in row.values()]
    if faults or not rows:
        fault = faults[0] if faults else "no shots"
        raise UserError(
            f"{name}: not a table of predictions (found {fault}, expected a row for each shot). Fix: {CURE}"
        )
    return rows


def read_file(path: Path) -> Predictions:
    """Return the predictions of a file. Raises UserError if it is missing or damaged."""
    with reading(path, "a table of predictions", "remove it, then run `make repro`"):
        return read_predictions(str(path), path.read_text(encoding="utf-8"))


def read_predictions(name: str, text: str) -> Predictions:
    """Return the one run that `text` holds. Raises UserError if it is no table of predictions, or has a shot twice."""
    return _in_common([(name, read_rows(name, text))])[0]


def compare_predictions(tables: Sequence[tuple[str, TableRows]]) -> dict[str, Any]:
    """Return the results of two or more runs (name, table) on their common test shots, each compared with the first.

    Raises UserError if they have no shot or no learned quantity in common, or their labels differ.
    """
    runs = _in_common(tables)
    learned = [name for name in runs[0].learned() if all(name in run.learned() for run in runs)]
    if not learned:
        names, lists = ", ".join(run.name for run in runs), " and ".join(str(run.learned()) for run in runs)
        raise UserError(
            f"{names}: nothing to compare (found {lists}, expected a quantity that all have learned). Fix: choose runs with "
            "prepare.label, or a number of prepare.regression, in common"
        )
    result: dict[str, Any] = {
        "shots": len(runs[0].columns[RUN_KEY[0]]),
        "runs": [{"run": run.name, "shots": run.shots, "learned": run.learned()} for run in runs],
        "comparisons": [],
    }
    for name in learned:
        if name == "classes":
            _compare_classes(runs, result)
        else:
            _compare_number(runs, name, result)
    return result


def _in_common(tables: Sequence[tuple[str, TableRows]]) -> list[Predictions]:
    """Return the predictions of each run for the shots that are in all tables.

    Raises UserError if there are none, or a table has a shot twice.
    """
    key = EVENT_KEY if all(set(EVENT_KEY) <= rows[0].keys() for _, rows in tables) else RUN_KEY
    by_shot = [_by_shot(name, rows, key) for name, rows in tables]
    shots = [shot for shot in by_shot[0] if all(shot in table for table in by_shot)]
    if not shots:
        raise UserError(
            f"{', '.join(name for name, _ in tables)}: no test shot in common (found 0 with equal {', '.join(key)}, expected "
            "at least 1). Fix: evaluate the runs on the same data and split"
        )
    return [
        Predictions(name, len(rows), {column: [table[shot][column] for shot in shots] for column in rows[0]})
        for (name, rows), table in zip(tables, by_shot, strict=True)
    ]


def _by_shot(name: str, rows: TableRows, key: Sequence[str]) -> dict[tuple[str, ...], Mapping[str, str]]:
    table: dict[tuple[str, ...], Mapping[str, str]] = {}
    for row in rows:
        shot = tuple(row[column] for column in key)
        if shot in table:
            fix = CURE if key == EVENT_KEY else "evaluate the runs again, which writes the event key of each shot"
            raise UserError(
                f"{name}: shot {', '.join(key)} = {', '.join(shot)} is repeated (found 2 rows, expected 1). Fix: {fix}"
            )
        table[shot] = row
    return table


@dataclass(frozen=True)
class Measure:
    """A quantity by which runs are compared."""

    measure: str  # its name
    more_is_better: bool
    scale: float  # from perfect to worthless: 1 for an accuracy, the standard deviation of the truth for an error

    def text(self, value: float) -> str:
        """Return a difference as text, without its unit."""
        return f"{100 * value:+.1f}" if self.more_is_better else f"{value:+.3g}"


def _compare_classes(runs: Sequence[Predictions], result: dict[str, Any]) -> None:
    """Add each run's accuracy to `result`, and its comparison with the first."""
    truth = runs[0].columns[ACTUAL]
    right = []
    for run in runs:
        _require_same(runs[0], run, ACTUAL, [a != b for a, b in zip(truth, run.columns[ACTUAL], strict=True)])
        right.append(np.array([a == b for a, b in zip(truth, run.columns[PREDICTED], strict=True)]))
    for row, hits in zip(result["runs"], right, strict=True):
        low, high = metrics.wilson_interval(int(hits.sum()), len(hits))
        row |= {"accuracy": float(hits.mean()), "accuracy_low": low, "accuracy_high": high}
    pairs = [significance.accuracies(right[0], hits) for hits in right[1:]]
    entries = _entries(runs, Measure("accuracy", True, 1.0), [pair.difference for pair in pairs])
    for entry, pair in zip(entries, pairs, strict=True):
        counts = {"both": pair.both, "only_first": pair.only_first, "only_run": pair.only_second}
        result["comparisons"].append(entry | {"right": counts | {"neither": pair.neither}})


def _compare_number(runs: Sequence[Predictions], name: str, result: dict[str, Any]) -> None:
    """Add each run's mean absolute error of number `name` to `result`, and its comparison; nothing if no shot has it."""
    column = f"{ACTUAL} {name}"
    truth = runs[0].floats(column)
    finite = np.isfinite(truth)
    if not finite.any():
        return
    errors = []
    for run in runs:
        _require_same(runs[0], run, column, list(~np.isclose(truth, run.floats(column), rtol=1e-5, equal_nan=True)))
        errors.append((run.floats(f"{PREDICTED} {name}") - truth)[finite])
    for row, error in zip(result["runs"], errors, strict=True):
        row.setdefault("mean_absolute_error", {})[name] = float(np.abs(error).mean())
    differences = [significance.absolute_errors(errors[0], error) for error in errors[1:]]
    measure = Measure(f"mean absolute error of {name}", False, float(truth[finite].std()))
    result["comparisons"] += _entries(runs, measure, differences)


def _entries(runs: Sequence[Predictions], measure: Measure, differences: Sequence[Difference]) -> list[dict[str, Any]]:
    """Return the comparisons of all runs but the first with it, by one measure, each with its verdict in a sentence."""
    corrected = significance.holm([difference.p for difference in differences])
    several = f", corrected for {len(differences)} comparisons" if len(differences) > 1 else ""
    unit = " points" if measure.more_is_better else ""
    entries: list[dict[str, Any]] = []
    for run, difference, p in zip(runs[1:], differences, corrected, strict=True):
        names, shown, better = (run.name, runs[0].name), difference, None
        sentence = f"no significant difference between {runs[0].name} and {run.name}"
        if p < SIGNIFICANT:
            if (difference.value > 0) != measure.more_is_better:  # the first is better: the sentence is about it
                names, shown = names[::-1], -difference
            better, sentence = names[0], f"{names[0]} is better than {names[1]}"
        interval = f"{measure.text(shown.low)} to {measure.text(shown.high)}"
        sentence += (
            f": {measure.measure} {measure.text(shown.value)}{unit}, {INTERVAL} {interval}, p = {p:.2g}{several}"
        )
        entry = {"first": runs[0].name, "run": run.name, **asdict(measure), "difference": difference.value}
        entry |= {"low": difference.low, "high": difference.high, "p": difference.p, "p_holm": p}
        entries.append(entry | {"better": better, "verdict": sentence})
    return entries


def _require_same(first: Predictions, other: Predictions, column: str, differs: Sequence[bool]) -> None:
    if any(differs):
        raise UserError(
            f"{other.name}: column {column!r} is not that of {first.name} (found {sum(differs):,} of {len(differs):,} common "
            "shots that differ, expected 0). Fix: evaluate both on the same labels"
        )
