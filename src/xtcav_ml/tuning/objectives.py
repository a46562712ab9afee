"""What a search improves: of one objective the best trial, of several those that no other trial beats in all of them.

The score comes first in a trial's values, so that what ranks trials by accuracy is the same for one objective and several.
"""

from collections.abc import Iterable

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from xtcav_ml.config.tune import ACCURACY, MEMORY, MILLISECONDS
from xtcav_ml.science import search

UNITS = {MILLISECONDS: "ms a frame", MEMORY: "GB"}
"""Of the objectives that are costs: less of them is better."""


def directions(names: Iterable[str]) -> list[StudyDirection]:
    """Return Optuna's direction of each objective."""
    return [StudyDirection.MAXIMIZE if name == ACCURACY else StudyDirection.MINIMIZE for name in names]


def score(trial: FrozenTrial) -> float:
    """Return the score of a completed trial, the first of its values."""
    return float(trial.values[0])


def front(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Return the completed trials that no other one beats in one objective and equals in the rest, the best score first.

    Of trials with equal values the first. For one objective it is the best trial alone.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    first = {tuple(trial.values): trial for trial in reversed(complete)}
    points = list(first)
    maximized = [index == 0 for index in range(len(points[0]))] if points else []
    found = [first[points[index]] for index in search.front(points, maximized)]
    return sorted(found, key=lambda trial: (-score(trial), trial.number))
