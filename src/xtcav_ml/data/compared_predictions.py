"""The results of two or more runs on the test shots that they have in common, from their tables of predictions."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from xtcav_ml.data.predictions import ACTUAL, PREDICTED, RUN_KEY, Predictions, TableRows, in_common
from xtcav_ml.science import metrics, significance
from xtcav_ml.science.significance import Difference
from xtcav_ml.science.thresholds import INTERVAL, SIGNIFICANT
from xtcav_ml.system.errors import UserError


def compare_predictions(tables: Sequence[tuple[str, TableRows]]) -> dict[str, Any]:
    """Return the results of two or more runs (name, table) on their common test shots, each compared with the first.

    Raises UserError if they have no shot or no learned quantity in common, or their labels differ.
    """
    runs = in_common(tables)
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
    truth = np.array(runs[0].floats(column))
    finite = np.isfinite(truth)
    if not finite.any():
        return
    errors = []
    for run in runs:
        _require_same(runs[0], run, column, list(~np.isclose(truth, run.floats(column), rtol=1e-5, equal_nan=True)))
        errors.append((np.array(run.floats(f"{PREDICTED} {name}")) - truth)[finite])
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
