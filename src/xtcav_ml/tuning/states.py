"""The state of a trial in one word, and the reason for it: a search has more states than Optuna.

A trial that waits at a rung is RUNNING in the study, and one that cannot be trained is PRUNED. What a person sees, in the
terminal, in MLflow and on the page, tells them apart.
"""

from collections import Counter
from collections.abc import Collection, Sequence

from optuna.trial import FrozenTrial, TrialState

from xtcav_ml.tuning.rungs import BASELINE, REPEATS, SEED, searched, waits

NOTE = "note"  # user attribute of a trial: why it ended, if it was not completed
INFEASIBLE = "infeasible: "  # begins the note of a trial that cannot be trained

WORDS = ("running", "waits", "complete", "pruned", "infeasible", "failed")
"""All states, in the order in which they are counted."""


def state(trial: FrozenTrial, stops: Sequence[int] = (), busy: Collection[int] = ()) -> str:
    """Return the state of a trial in a search with rungs at `stops` (epochs), one of WORDS.

    One whose number is in `busy` goes on from its rung at the moment.
    """
    if waits(trial, stops) and trial.number not in busy:
        return "waits"
    if str(trial.user_attrs.get(NOTE, "")).startswith(INFEASIBLE):
        return "infeasible"
    return "failed" if trial.state == TrialState.FAIL else str(trial.state.name.lower())


def why(trial: FrozenTrial) -> str:
    """Return why a trial that was not completed ended, or which one it repeats; empty if its state needs no reason."""
    note = str(trial.user_attrs.get(NOTE, "")).removeprefix(INFEASIBLE)
    return "; ".join(part for part in (repeated(trial), note) if part)


def repeated(trial: FrozenTrial) -> str:
    """Return in words what a trial repeats; empty for all others."""
    of = trial.user_attrs.get(REPEATS)
    name = "params.yaml" if of == BASELINE else f"trial {of}"
    return "" if of is None else f"repeats {name} with seed {trial.user_attrs[SEED]}"


def counted(trials: Sequence[FrozenTrial], stops: Sequence[int] = (), busy: Collection[int] = ()) -> str:
    """Return how many trials are in which state, without repeats of others, as `1 running, 4 pruned`."""
    counts = Counter(state(trial, stops, busy) for trial in searched(trials))
    return ", ".join(f"{counts[word]} {'waiting' if word == 'waits' else word}" for word in WORDS if counts[word])


def tags(trial: FrozenTrial, stops: Sequence[int] = ()) -> dict[str, str]:
    """Return the tags of a trial's run in MLflow that ends: its state, the reason, and both as the first words of its page."""
    word, reason = state(trial, stops), why(trial)
    if word == "running":
        word, reason = "interrupted", "; ".join(filter(None, (reason, "`make tune` continues it")))
    known = word == "infeasible" or "after epoch" in reason  # how far it came
    last = f" after epoch {trial.last_step}" if trial.last_step and not known else ""
    page = f"**{word.capitalize()}**{last}{f': {reason}' if reason else ''}"
    return {"trial.state": word, **({NOTE: reason} if reason else {}), "mlflow.note.content": page}
