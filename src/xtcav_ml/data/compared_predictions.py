"""The results of two or more runs on the test shots that they have in common, from their tables of predictions.

Where each run is of settings that were trained with several seeds, the settings are compared. Otherwise the models are: one
seed each cannot tell what of a difference is the settings'.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.data.predictions import ACTUAL, PREDICTED, RUN_KEY, Predictions, TableRows, by_seed, in_common, read_rows
from xtcav_ml.science import drift, metrics, significance, two_level
from xtcav_ml.science.blocks import blocked_interval, of_time
from xtcav_ml.science.significance import Difference
from xtcav_ml.science.thresholds import INTERVAL, POWER, SIGNIFICANT
from xtcav_ml.system.errors import UserError

LEAST_SEEDS = 2  # of each of the settings that are compared: of one, the spread is unknown
ONE_SEED = "settings cannot be called better on one seed each, and these are single models of theirs"


@dataclass(frozen=True)
class Run:
    """The tables of predictions of a run: that of its model, and those of the seeds of its settings, if there are several."""

    name: str
    model: TableRows
    seeds: Sequence[TableRows] = ()
    group: str = ""  # the key of its settings, if that is known
    independent: bool = False  # whether its shots are known to have nothing in common with their neighbours

    def same_settings(self, other: "Run") -> bool:
        """Return whether both are of one group, which may have got more seeds in between."""
        return self.group == other.group if self.group and other.group else self.seeds == other.seeds


def run_of(name: str, text: str, group: str = "", key: str = "", *, independent: bool = False) -> Run:
    """Return a run from its table of predictions and that of its group, if it has one; `text` may be a group's itself.

    `key` is that of its settings, the same with any seed. Raises UserError if one is no such table.
    """
    rows = read_rows(name, text)
    own = list(by_seed(name, rows).values())
    seeds = list(by_seed(name, read_rows(name, group)).values()) if group else own
    return Run(name, own[0] if own else rows, seeds, key, independent)


def compare_predictions(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the results of two or more runs on their common test shots, each compared with the first.

    Raises UserError if they have no shot or no learned quantity in common, or their labels differ.
    """
    same = any(run.same_settings(runs[0]) for run in runs[1:])
    settings = all(len(run.seeds) >= LEAST_SEEDS for run in runs) and not same
    tables = [(run.name, table) for run in runs for table in (run.seeds if settings else [run.model])]
    common = iter(in_common(tables))
    groups = [[next(common) for _ in (run.seeds if settings else [run.model])] for run in runs]
    firsts = [group[0] for group in groups]
    learned = [name for name in firsts[0].learned() if all(name in one.learned() for one in firsts)]
    if not learned:
        names, lists = ", ".join(run.name for run in runs), " and ".join(str(one.learned()) for one in firsts)
        raise UserError(
            f"{names}: nothing to compare (found {lists}, expected a quantity that all have learned). Fix: choose runs with "
            "prepare.label, or a number of prepare.regression, in common"
        )
    result: dict[str, Any] = {
        "shots": len(firsts[0].columns[RUN_KEY[0]]),
        "level": "settings" if settings else "models",
        "independent": all(run.independent for run in runs),
        "runs": [
            {"run": one.name, "shots": one.shots, "seeds": len(group), "learned": one.learned()}
            for one, group in zip(firsts, groups, strict=True)
        ],
        "comparisons": [],
    }
    for name in learned:
        (_compare_classes if name == "classes" else _compare_number)(groups, name, result)
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


Groups = Sequence[Sequence[Predictions]]  # of each run those of its seeds, or of its model alone


def _compare_classes(groups: Groups, _: str, result: dict[str, Any]) -> None:
    """Add each run's accuracy to `result`, and its comparison with the first."""
    truth, right = groups[0][0].columns[ACTUAL], []
    for group in groups:
        for run in group:
            _require_same(groups[0][0], run, ACTUAL, [a != b for a, b in zip(truth, run.columns[ACTUAL], strict=True)])
        right.append(np.array([[a == b for a, b in zip(truth, run.columns[PREDICTED], strict=True)] for run in group]))
    measure, names = Measure("accuracy", True, 1.0), [group[0].name for group in groups]
    if result["level"] == "settings":
        _compare_settings(names, measure, right, _blocks(groups[0][0]), result)
        return
    for row, (hits,) in zip(result["runs"], right, strict=True):
        low, high = _interval(hits, groups[0][0], result)
        row |= {"accuracy": float(hits.mean()), "accuracy_low": low, "accuracy_high": high}
    pairs = [significance.accuracies(right[0][0], hits) for (hits,) in right[1:]]
    gains = [hits.astype(float) - right[0][0] for (hits,) in right[1:]]
    differences = _of_models([pair.difference for pair in pairs], gains, _times(groups[0][0]), result)
    entries = _entries(names, measure, differences, "models")
    for entry, pair in zip(entries, pairs, strict=True):
        counts = {"both": pair.both, "only_first": pair.only_first, "only_run": pair.only_second}
        result["comparisons"].append(entry | {"right": counts | {"neither": pair.neither}})


def _compare_number(groups: Groups, name: str, result: dict[str, Any]) -> None:
    """Add each run's mean absolute error of number `name` to `result`, and its comparison; nothing if no shot has it."""
    column, first = f"{ACTUAL} {name}", groups[0][0]
    truth = np.array(first.floats(column))
    finite = np.isfinite(truth)
    if not finite.any():
        return
    errors = []
    for group in groups:
        for run in group:
            _require_same(first, run, column, list(~np.isclose(truth, run.floats(column), rtol=1e-5, equal_nan=True)))
        predicted = np.array([run.floats(f"{PREDICTED} {name}") for run in group])
        errors.append(np.abs(predicted - truth)[:, finite])
    measure = Measure(f"mean absolute error of {name}", False, float(truth[finite].std()))
    names = [group[0].name for group in groups]
    if result["level"] == "settings":
        _compare_settings(names, measure, errors, _blocks(first)[finite], result)
        return
    for row, error in zip(result["runs"], errors, strict=True):
        row.setdefault("mean_absolute_error", {})[name] = float(error.mean())
    differences = [significance.absolute_errors(errors[0][0], error) for (error,) in errors[1:]]
    gains = [error - errors[0][0] for (error,) in errors[1:]]
    differences = _of_models(differences, gains, _times(first)[:, finite], result)
    result["comparisons"] += _entries(names, measure, differences, "models")


def _compare_settings(
    names: Sequence[str],
    measure: Measure,
    scores: Sequence[NDArray[Any]],
    blocks: NDArray[np.int64],
    result: dict[str, Any],
) -> None:
    """Add the mean over seeds of each run's `scores` (seeds, shots) to `result`, and its comparison with the first."""
    for row, each in zip(result["runs"], scores, strict=True):
        found = two_level.spread(each, blocks)
        if measure.more_is_better:
            row |= {"accuracy": found.mean, "accuracy_low": found.low, "accuracy_high": found.high}
            row["accuracy_sd"] = found.sd
        else:
            name = measure.measure.partition(" of ")[2]
            row.setdefault("mean_absolute_error", {})[name] = found.mean
            row.setdefault("mean_absolute_error_sd", {})[name] = found.sd
    differences = [two_level.difference(scores[0], each, blocks) for each in scores[1:]]
    result["comparisons"] += _entries(names, measure, differences, "settings")


def _of_models(
    differences: Sequence[Difference],
    gains: Sequence[NDArray[np.floating]],
    times: NDArray[np.float64],
    result: dict[str, Any],
) -> list[Difference]:
    """Return differences, the means of `gains` (N,) of shots at `times`, that allow for drift where there may be one."""
    if result["independent"]:
        return list(differences)
    order = np.lexsort(times[::-1])
    return [drift.allowed_for(each, gain[order]) for each, gain in zip(differences, gains, strict=True)]


def _interval(hits: NDArray[np.bool_], run: Predictions, result: dict[str, Any]) -> tuple[float, float]:
    """Return the interval of an accuracy: by shots that are independent, else by blocks of time."""
    if result["independent"]:
        return metrics.wilson_interval(int(hits.sum()), len(hits))
    found = blocked_interval(hits, _blocks(run))
    return found.low, found.high


def _blocks(run: Predictions) -> NDArray[np.int64]:
    """Return the block of time of each shot (N,)."""
    return of_time(*_times(run))


def _times(run: Predictions) -> NDArray[np.float64]:
    """Return the keys (2, N) by which shots follow one another, the first leads."""
    return np.array([run.floats(name) for name in RUN_KEY])


def _entries(
    names: Sequence[str], measure: Measure, differences: Sequence[Difference], level: str
) -> list[dict[str, Any]]:
    """Return the comparisons of all runs but the first with it, by one measure, each with its verdict in a sentence."""
    corrected = significance.holm([difference.p for difference in differences])
    several = f", corrected for {len(differences)} comparisons" if len(differences) > 1 else ""
    unit, what = " points" if measure.more_is_better else "", ("settings", "are", "those")
    if level == "models":
        what = ("model", "is", "that")
    entries: list[dict[str, Any]] = []
    for name, difference, p in zip(names[1:], differences, corrected, strict=True):
        pair, shown, better = (name, names[0]), difference, None
        sentence = f"no significant difference between the {what[0]} of {names[0]} and {what[2]} of {name}"
        if p < SIGNIFICANT:
            if (difference.value > 0) != measure.more_is_better:  # the first is better: the sentence is about it
                pair, shown = pair[::-1], -difference
            better, sentence = pair[0], f"the {what[0]} of {pair[0]} {what[1]} better than {what[2]} of {pair[1]}"
        most = measure.scale if measure.more_is_better else inf  # difference of two accuracies
        interval = f"{measure.text(max(shown.low, -most))} to {measure.text(min(shown.high, most))}"
        power = f"a difference of {measure.text(shown.found).lstrip('+')}{unit} would be found with {POWER:.0%} power"
        if shown.found > most:
            power = f"no difference would be found with {POWER:.0%} power: shots or seeds are too few"
        interval = f"{INTERVAL} {interval}, p = {p:.2g}{several}"
        sentence += f": {measure.measure} {measure.text(shown.value)}{unit}, {interval}; {power}"
        entry = {"first": names[0], "run": name, **asdict(measure), "level": level, "difference": difference.value}
        entry |= {"low": difference.low, "high": difference.high, "p": difference.p, "p_holm": p}
        entry |= {
            "freedom": difference.freedom if isfinite(difference.freedom) else None,
            "of_seeds": difference.of_seeds,
        }
        entries.append(entry | {"better": better, "found": difference.found, "verdict": sentence})
    return entries


def _require_same(first: Predictions, other: Predictions, column: str, differs: Sequence[bool]) -> None:
    if any(differs):
        raise UserError(
            f"{other.name}: column {column!r} is not that of {first.name} (found {sum(differs):,} of {len(differs):,} common "
            "shots that differ, expected 0). Fix: evaluate both on the same labels"
        )
