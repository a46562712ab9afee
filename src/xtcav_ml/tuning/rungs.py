"""Successive halving: trials stop at rungs, and the best third of those that have reached a rung goes on from there.

L. Li et al., MLSys 2020, arXiv:1810.05934, one trial at a time: whenever a trial has stopped, one that is in the best third of
its rung goes on, from the highest such rung, and if there is none a new trial begins. Optuna's SuccessiveHalvingPruner can end
a trial at a rung but never continue it later, when others have turned out to be worse; so a trial that waits at a rung stays
RUNNING in the study, with its checkpoint. Which one is next follows from the reported values alone: an interruption at any
moment changes nothing.
"""

from collections.abc import Collection, Sequence
from copy import copy

from optuna.trial import FrozenTrial, TrialState

FACTOR = 3
REPEATS, SEED = "repeats", "seed"  # user attributes of a trial that repeats another one: its number, and the other seed
BASELINE = -1  # instead of a number: params.yaml
CLOSED = "closed"  # of a trial that waited when the search was finished: the epoch
CONTINUES = "continues"  # of a trial with which a larger search continues such a one: its number


def stops(epochs: int, rungs: int) -> tuple[int, ...]:
    """Return the epochs of the rungs below `epochs`, fewest first: each a third of the next, rounded up."""
    found = [epochs]
    for _ in range(rungs):
        found.append(-(-found[-1] // FACTOR))
    return tuple(sorted({*found} - {epochs}))


def searched(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that repeat no other one; one that continues another stands in that one's place."""
    own = [trial for trial in trials if REPEATS not in trial.user_attrs]
    now = {origin(trial): trial for trial in own}  # the last of each
    return [now[trial.number] for trial in own if CONTINUES not in trial.user_attrs]


def origin(trial: FrozenTrial) -> int:
    """Return the number of the trial that this one continues, or else its own."""
    return int(trial.user_attrs.get(CONTINUES, trial.number))


def reopened(trials: Sequence[FrozenTrial], shown: Collection[int] = ()) -> list[FrozenTrial]:
    """Return the searched trials as they stood before the search was finished, but those with the numbers `shown`.

    A finished search has ended those that waited, and has trained the best of them on, out of their turn. For a larger one they
    wait where they did.
    """
    return [_waiting(one) if CLOSED in one.user_attrs and one.number not in shown else one for one in searched(trials)]


def _waiting(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial as it waited when the search was finished."""
    then, last = copy(trial), trial.user_attrs[CLOSED]
    then.state, then.values, then.datetime_complete = TrialState.RUNNING, None, None
    then.intermediate_values = {epoch: score for epoch, score in trial.intermediate_values.items() if epoch <= last}
    return then


def waits(trial: FrozenTrial, at: Sequence[int]) -> bool:
    """Return whether a trial has stopped at one of the rungs."""
    return trial.state == TrialState.RUNNING and trial.last_step in at


def to_continue(trials: Sequence[FrozenTrial], at: Sequence[int], busy: Collection[int] = ()) -> FrozenTrial | None:
    """Return the trial that goes on next, if one may: one between two rungs, else the best of the highest rung.

    Those with a number in `busy` are trained at the moment.
    """
    running = [trial for trial in trials if trial.state == TrialState.RUNNING and trial.number not in busy]
    between = [trial for trial in running if trial.last_step not in at]
    return between[0] if between else promoted(trials, at, busy)


def promoted(trials: Sequence[FrozenTrial], at: Sequence[int], busy: Collection[int] = ()) -> FrozenTrial | None:
    """Return the best trial that waits and is in the best third of all that have reached its rung, the highest rung first.

    Those with a number in `busy` have been promoted already.
    """
    for stop in reversed(at):
        reached = standing(trials, stop)
        for trial in reached[: len(reached) // FACTOR]:
            if trial.state == TrialState.RUNNING and trial.last_step == stop and trial.number not in busy:
                return trial
    return None


def standing(trials: Sequence[FrozenTrial], stop: int) -> list[FrozenTrial]:
    """Return the trials that have reached the rung after `stop` epochs, the best one there first."""
    reached = [trial for trial in trials if stop in trial.intermediate_values]
    return sorted(reached, key=lambda trial: (-trial.intermediate_values[stop], origin(trial)))


def leader(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """Return the best trial with the most epochs, of those that have been trained to the end or can be; None of none."""
    able = [one for one in trials if one.last_step and one.state in (TrialState.RUNNING, TrialState.COMPLETE)]
    return min(able, key=_rank, default=None)


def finalists(trials: Sequence[FrozenTrial], most: int) -> list[FrozenTrial]:
    """Return the best trials of those that have not failed, of the highest rung first."""
    return ranked(trials)[:most]


def ranked(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return all trials that have not failed and were trained at all, of the highest rung first, there the best first."""
    return sorted((one for one in trials if one.last_step and one.state != TrialState.FAIL), key=_rank)


def _rank(trial: FrozenTrial) -> tuple[int, float, int]:
    return -(trial.last_step or 0), -_best(trial), origin(trial)


def _best(trial: FrozenTrial) -> float:
    return float(max(trial.intermediate_values.values()))


def why_stopped(trials: Sequence[FrozenTrial], trial: FrozenTrial) -> str:
    """Return in words why a trial that waits was not promoted."""
    reached = standing(trials, trial.last_step or 0)
    numbers = [other.number for other in reached]
    if trial.number not in numbers:
        return "continued as another trial, in a larger search"
    rank = 1 + numbers.index(trial.number)
    return f"not among the best third after epoch {trial.last_step}: number {rank} of {len(reached)} trials there"
