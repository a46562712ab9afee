"""The accuracy of groups of test shots: of each run, and by the energy of the X-ray pulses where the raw files have it."""

import contextlib
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.schema import EVENT_KEY, PULSE_ENERGIES
from xtcav_ml.data.predictions import ACTUAL, PREDICTED, Predictions
from xtcav_ml.data.raw_file import read_columns
from xtcav_ml.data.raw_files import KEYS, NUMBER, RawSet
from xtcav_ml.figures.drawing import svg
from xtcav_ml.figures.quality import accuracy_by
from xtcav_ml.system.errors import UserError

MOST_RUNS = 15  # of a chart: those with the most test shots
ENERGY_GROUPS = 5  # of about as many shots each

Groups = dict[str, tuple[int, int]]
"""Of each group, by its name, the shots that are right, and all."""


def group_charts(run: Predictions, raw: RawSet | None) -> dict[str, str]:
    """Return a chart (SVG) by its title for each way to group the shots that makes more than one group."""
    energies, unit = pulse_energies(run, raw) if raw else (np.empty(0), "")
    found = {
        ("Accuracy by run", "run"): by_run(run),
        ("Accuracy by pulse energy", f"energy, {unit}"): by_energy(run, energies),
    }
    return {
        title: svg(accuracy_by(groups, what), f"{title}: {_in_words(groups)}")
        for (title, what), groups in found.items()
        if len(groups) > 1
    }


def by_run(run: Predictions) -> Groups:
    """Return the shots of each run, in the order of their numbers; of many runs those with the most shots."""
    right, numbers = _right(run), run.columns["run"]
    groups = {number: [hit for hit, of in zip(right, numbers, strict=True) if of == number] for number in set(numbers)}
    largest = sorted(groups, key=lambda number: -len(groups[number]))[:MOST_RUNS]
    return {number: (sum(groups[number]), len(groups[number])) for number in sorted(largest, key=lambda n: (len(n), n))}


def by_energy(run: Predictions, energies: NDArray[np.float64]) -> Groups:
    """Return the shots in groups of rising energy, (shots,), NaN where there is none; nothing if no shot has one."""
    known = np.flatnonzero(np.isfinite(energies))
    if not len(known):
        return {}
    right, values = np.array(_right(run))[known], energies[known]
    ends = np.unique(np.quantile(values, np.linspace(0, 1, ENERGY_GROUPS + 1), method="nearest"))
    group = np.clip(np.searchsorted(ends, values, side="right") - 1, 0, max(len(ends) - 2, 0))
    names = _names(ends)
    return {names[i]: (int(right[group == i].sum()), int((group == i).sum())) for i in np.unique(group)}


def _names(ends: NDArray[np.float64]) -> list[str]:
    """Return a name for each group between two ends, with as many digits as tell them apart."""
    for digits in range(3, 18):
        words = [f"{end:.{digits}g}" for end in ends]
        if len(set(words)) == len(words):
            break
    return [f"{low} to {high}" for low, high in itertools.pairwise(words)] or [f"{words[0]} to {words[0]}"]


def _right(run: Predictions) -> list[bool]:
    return [one == other for one, other in zip(run.columns[ACTUAL], run.columns[PREDICTED], strict=True)]


def pulse_energies(run: Predictions, raw: RawSet) -> tuple[NDArray[np.float64], str]:
    """Return the pulse energy of each shot of the run (shots,), NaN where the raw files have none, and its unit."""
    shots = _keys([run.columns[name] for name in EVENT_KEY]) if set(EVENT_KEY) <= run.columns.keys() else []
    for names, unit in PULSE_ENERGIES.items():
        found: dict[tuple[int, ...], float] = {}
        with contextlib.suppress(UserError):  # they do not have it, or no key of a shot
            for file in raw.files:
                table = read_columns(file, KEYS | dict.fromkeys(names, NUMBER), folder=raw.folder)
                total = np.sum([table[name] for name in names], axis=0)
                found |= zip(_keys([table[name] for name in EVENT_KEY]), total.tolist(), strict=True)
            return np.array([found.get(shot, np.nan) for shot in shots]), unit
    return np.empty(0), ""


def _keys(columns: Sequence[Sequence[object] | NDArray[np.generic]]) -> list[tuple[int, ...]]:
    return [tuple(int(str(part)) for part in key) for key in zip(*columns, strict=True)]


def _in_words(groups: Groups) -> str:
    return "; ".join(f"{name}: {right} of {shots} right" for name, (right, shots) in groups.items())
