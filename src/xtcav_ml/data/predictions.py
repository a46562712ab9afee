"""Tables of predictions, a row for each test shot."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xtcav_ml.config.schema import EVENT_KEY
from xtcav_ml.system.errors import UserError, reading

RUN_KEY = ("run", "run.index")
"""Identifies a shot within one experiment. Tables are matched by it only if one of them was written without event keys."""

ACTUAL, PREDICTED = "actual", "predicted"
"""Columns of the truth and of the prediction; of a number, each followed by a space and its name."""

PROBABILITY = "probability of "  # prefix of the column of a class

INCLUDED = "set includes "  # prefix of the column, 0 or 1, that says whether the set of a shot has a class
LOWEST, HIGHEST = "lowest ", "highest "
"""Prefixes of the columns with the ends of a number's interval."""

CURE = "use a predictions.csv that evaluate wrote"
SEED = "seed {}: "  # begins the columns of one network's predictions in the table of a group of seeds
SEED_COLUMN = re.compile(r"seed (\d+): (.+)")
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

    def floats(self, column: str) -> list[float]:
        """Return a column as numbers. Raises UserError if it holds others."""
        try:
            return [float(text) for text in self.columns[column]]
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


def by_seed(name: str, rows: TableRows) -> dict[str, TableRows]:
    """Return the table of each seed from that of a group; empty if `rows` are of one network.

    `name` is for the error. Raises UserError if the seeds have not the same columns.
    """
    common = [column for column in rows[0] if not SEED_COLUMN.fullmatch(column)]
    columns: dict[str, dict[str, str]] = {}
    for found in filter(None, map(SEED_COLUMN.fullmatch, rows[0])):
        columns.setdefault(found[1], {column: column for column in common})[found[2]] = found[0]
    kinds = {frozenset(names) for names in columns.values()}
    if len(kinds) > 1:
        odd = ", ".join(sorted(frozenset.union(*kinds) - frozenset.intersection(*kinds)))
        raise UserError(
            f"{name}: not the same columns for each seed (found {odd} of some seeds only, expected it of all). Fix: run `make "
            "seeds`"
        )
    return {
        seed: [{own: row[column] for own, column in names.items()} for row in rows] for seed, names in columns.items()
    }


def read_file(path: Path) -> Predictions:
    """Return the predictions of a file. Raises UserError if it is missing or damaged."""
    with reading(path, "a table of predictions", "remove it, then run `make repro`"):
        return read_predictions(str(path), path.read_text(encoding="utf-8"))


def read_predictions(name: str, text: str) -> Predictions:
    """Return the one run that `text` holds. Raises UserError if it is no table of predictions, or has a shot twice."""
    return in_common([(name, read_rows(name, text))])[0]


def in_common(tables: Sequence[tuple[str, TableRows]]) -> list[Predictions]:
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
