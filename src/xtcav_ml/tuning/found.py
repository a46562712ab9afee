"""What a search has found, as plain data: from Optuna's study to `science.search.Search`, which all pictures are drawn from."""

import math
from collections.abc import Sequence
from statistics import mean

import optuna
from optuna import Study
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState, create_trial

from xtcav_ml.config import space
from xtcav_ml.config.train import TrainParams
from xtcav_ml.config.tune import TuneParams
from xtcav_ml.science import search
from xtcav_ml.science.search import Search, Trial
from xtcav_ml.tuning import repeats, rungs, states
from xtcav_ml.tuning.rungs import BASELINE, REPEATS

BEST_SHARE = 0.1  # of the trials, from which importances are estimated: Optuna's own, for hundreds of trials


def gather(study: Study, base: TrainParams, tune: TuneParams, scored_by: str, best: int | None) -> Search:
    """Return the search in `study`; `best` is the number of the trial to promote, if one is complete."""
    trials, stops = study.get_trials(deepcopy=False), rungs.stops(tune.epochs, tune.rungs)
    found = [_trial(trial, stops, list(tune.space)) for trial in rungs.searched(trials)]
    several = len(study.directions) > 1
    return Search(
        study=study.study_name,
        scored_by=scored_by,
        epochs=tune.epochs,
        stops=list(stops),
        space={name: values.model_dump(mode="json", exclude={"when"}) for name, values in tune.space.items()},
        trials=found,
        best=best,
        baseline=space.values_of(base, tune.space),
        objectives=list(study.metric_names or []) if several else [],
        maximized=[way == optuna.study.StudyDirection.MAXIMIZE for way in study.directions] if several else [],
        importances=importances(found, rungs.searched(trials)),
        repeats=_repeats(trials),
        shot_score="accuracy" if "entropy" in scored_by else "minus mean error, s.d.",
    )


def _trial(trial: FrozenTrial, stops: Sequence[int], names: Sequence[str]) -> Trial:
    """Return a trial with the best score so far of each epoch."""
    curve = [
        [float(epoch), score] for epoch, score in sorted(trial.intermediate_values.items()) if math.isfinite(score)
    ]
    values = [value for value in trial.values or [] if math.isfinite(value)]
    score = max([value for _, value in curve], default=values[0] if values else None)
    return Trial(
        number=trial.number,
        state=states.state(trial, stops),
        epochs=trial.last_step or 0,
        score=score,
        params={name: trial.params[name] for name in names if name in trial.params},
        curve=curve,
        values=values,
        why=states.why(trial),
    )


def importances(found: Sequence[Trial], trials: Sequence[FrozenTrial]) -> dict[str, float]:
    """Return the share of each parameter in what tells the best trials from the others, the largest first; none of too few.

    The best ones are those that went furthest, by their scores there: few trials are complete where most stop at a rung.
    PED-ANOVA, S. Watanabe et al., IJCAI 2023, arXiv:2304.10255, which also takes parameters that not all trials have.
    """
    able = search.scored(found)
    if len(able) < 2 * search.MATTERED:
        return {}
    by_number = {trial.number: trial for trial in trials}
    ranked = optuna.create_study(direction="minimize")
    for rank, one in enumerate(able):
        trial = by_number[one.number]
        params = {"params": trial.params, "distributions": trial.distributions}
        ranked.add_trial(create_trial(state=TrialState.COMPLETE, value=float(rank), **params))
    evaluator = PedAnovaImportanceEvaluator(target_quantile=max(BEST_SHARE, search.MATTERED / len(able)))
    return {
        name: float(share)
        for name, share in optuna.importance.get_param_importances(ranked, evaluator=evaluator).items()
    }


def _repeats(trials: Sequence[FrozenTrial]) -> dict[str, list[float]]:
    """Return the mean score on the validation shots with each other seed, of params.yaml and of the trials repeated."""
    done: dict[int, list[float]] = {}
    for trial in trials:
        if trial.state == TrialState.COMPLETE and trial.user_attrs.get(repeats.SHOTS) and REPEATS in trial.user_attrs:
            done.setdefault(trial.user_attrs[REPEATS], []).append(mean(trial.user_attrs[repeats.SHOTS]))
    return {("params.yaml" if of == BASELINE else f"trial {of}"): done[of] for of in sorted(done)}
