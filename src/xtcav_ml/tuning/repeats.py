"""Is the best of a search better than params.yaml? The best trials and params.yaml, trained with other seeds, decide.

The seeds are others than that of the search, by which the best were chosen: of these the winner is the luckiest one. All are
scored on the validation shots, the same for each, by `science.two_level`; Holm's rule allows for several comparisons.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
from optuna import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from xtcav_ml.science import significance, two_level
from xtcav_ml.science.thresholds import INTERVAL, POWER, SIGNIFICANT
from xtcav_ml.tuning import objectives
from xtcav_ml.tuning.rungs import BASELINE, REPEATS, SEED, origin, searched

SHOTS = "shots"  # user attribute of a completed trial: what it scores on each validation shot
LEAST = 2  # seeds of each, for a comparison


@dataclass(frozen=True)
class Sure:
    """A repeated trial, and whether it is better than params.yaml."""

    number: int
    better: bool
    verdict: str


def begin(study: Study, of: FrozenTrial | None, seed: int) -> FrozenTrial:
    """Return the trial that repeats `of` (None: params.yaml) with a seed; begin it on first use."""
    trials = study.get_trials(deepcopy=False)
    number = BASELINE if of is None else origin(of)
    attributes = {REPEATS: number, SEED: seed}
    for trial in trials:
        if all(trial.user_attrs.get(name) == value for name, value in attributes.items()):
            return trial
    values = {} if of is None else {"params": of.params, "distributions": of.distributions}
    study.add_trial(
        create_trial(state=TrialState.RUNNING, user_attrs={**attributes, "run_key": uuid.uuid4().hex}, **values)
    )
    return study.get_trials(deepcopy=False)[-1]


def judge(trials: Sequence[FrozenTrial]) -> Sure | None:
    """Return the winner of the repeated trials; None unless params.yaml and one of them were completed with enough seeds."""
    groups = dict(_groups(trials))
    means = {number: mean(map(objectives.score, group)) for number, group in groups.items()}
    return max(verdicts(trials), key=lambda one: means[one.number], default=None)


def verdicts(trials: Sequence[FrozenTrial]) -> list[Sure]:
    """Return the same of each repeated trial, by number; nothing unless params.yaml and one of them have enough seeds."""
    groups = dict(_groups(trials))
    others = sorted(number for number in groups if number != BASELINE)
    if BASELINE not in groups or not others:
        return []
    gains = [two_level.difference(_scores(groups[BASELINE]), _scores(groups[number])) for number in others]
    chances = dict(zip(others, significance.holm([gain.p for gain in gains]), strict=True))
    several = f", corrected for {len(others)} comparisons" if len(others) > 1 else ""
    found = []
    for number, gain in zip(others, gains, strict=True):
        better = gain.value > 0 and chances[number] < SIGNIFICANT
        verdict = (
            f"Better than params.yaml? {'Yes' if better else 'Not shown'}: trial {number} over {len(groups[number])} seeds "
            f"{100 * gain.value:+.1f} points on the validation shots, {INTERVAL} {100 * gain.low:+.1f} to "
            f"{100 * gain.high:+.1f}, p = {chances[number]:.2g}{several}; a gain of {100 * gain.found:.1f} points would be "
            f"found with {POWER:.0%} power."
        )
        found.append(Sure(number, better, verdict))
    return found


def _groups(trials: Sequence[FrozenTrial]) -> Iterator[tuple[int, list[FrozenTrial]]]:
    """Yield the completed repeats of each trial that has enough of them, by the number that it has now."""
    done: dict[int, list[FrozenTrial]] = {}
    for trial in trials:
        if trial.state == TrialState.COMPLETE and REPEATS in trial.user_attrs and trial.user_attrs.get(SHOTS):
            done.setdefault(trial.user_attrs[REPEATS], []).append(trial)
    most = max(map(len, done.values()), default=0)
    now = {origin(trial): trial.number for trial in searched(trials)}
    yield from ((now.get(number, number), group) for number, group in done.items() if len(group) == most >= LEAST)


def _scores(group: Sequence[FrozenTrial]) -> np.ndarray:
    scores = np.array([trial.user_attrs[SHOTS] for trial in group])
    return scores.astype(bool) if set(np.unique(scores)) <= {0.0, 1.0} else scores
