"""Whether a search has found anything better than params.yaml, in words that allow for its being the best of many trials.

Each trial is one training. It may show one network to be better than another, and never one set of parameters: `repeats` does.
"""

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from xtcav_ml.config.space import Values
from xtcav_ml.science.significance import gain_of_best
from xtcav_ml.science.thresholds import INTERVAL
from xtcav_ml.tuning import objectives
from xtcav_ml.tuning.states import NOTE

ACCURACY = "val_accuracy"  # user attribute of a completed trial: of its kept epoch; None where no classes are learned

WRITES = "writes them to params.yaml, then `make repro`; `make ui` shows all trials"
SURE = f"`.venv/bin/xtcav promote` {WRITES}"
PROMOTE = f"`.venv/bin/xtcav promote --force` {WRITES}"  # without repeats, or where they show no gain


def verdict(trials: Sequence[FrozenTrial], baseline: Values, shots: int, regression: bool) -> tuple[str, str]:
    """Return whether the best of the trials is better than that of the `baseline` (dotted names), and what to do next.

    The scores rank the trials, and the accuracies of their kept epochs, on `shots` validation shots, say how sure that is; not
    where there is `regression`. At least one trial is complete.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    best = max(complete, key=objectives.score)  # the first of equal ones, as the study's
    own = next((trial for trial in trials if trial.params == baseline), None)
    others = sum(bool(trial.intermediate_values) for trial in trials) - 1
    if own is None or own not in complete:
        why = "they lie outside tune.space" if own is None else own.user_attrs.get(NOTE) or _state(own)
        return f"Better than params.yaml? Not known: no trial of its parameters was completed ({why}).", PROMOTE
    if objectives.score(best) <= objectives.score(own):
        return (
            f"Better than params.yaml? No: of {len(complete)} completed trials none is better than its own, "
            f"{objectives.score(own):.3f}.",
            "raise tune.trials or tune.minutes, or change tune.space; `make ui` shows all trials",
        )
    scores = f"{objectives.score(best):.3f} after {objectives.score(own):.3f} of its own trial {own.number}"
    if regression:
        return f"Better than params.yaml? Perhaps: {scores}; errors alone do not tell how sure that is.", PROMOTE
    before, now = own.user_attrs[ACCURACY], best.user_attrs[ACCURACY]
    low, high = gain_of_best(before, now, shots, others)
    interval = (
        f"accuracy {now:.1%}, {100 * (now - before):+.1f} points on {shots:,} validation shots, {INTERVAL} {100 * low:+.1f} to "
        f"{100 * high:+.1f}, widened since it is the best of {others} others"
    )
    if low > 0:
        return (
            f"Better than params.yaml? Not shown: one network is better than the other, {scores}; {interval}. Of one seed "
            "each, the parameters cannot be called better.",
            f"raise tune.seeds to repeat them with other seeds; {PROMOTE}",
        )
    return (
        f"Better than params.yaml? Not shown: {scores}; {interval}. Chance alone, or another seed, may do as much.",
        f"raise tune.seeds to repeat them with other seeds; {PROMOTE}",
    )


def _state(own: FrozenTrial) -> str:
    early = f"trial {own.number} has stopped after epoch {own.last_step}"
    return early if own.state == TrialState.RUNNING else own.state.name.lower()
