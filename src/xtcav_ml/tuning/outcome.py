"""What comes out of a search: the best trial, as best.json, and charts; or why there is none."""

from collections import Counter
from pathlib import Path

import optuna
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from xtcav_ml.config import space
from xtcav_ml.config.base import flatten
from xtcav_ml.config.train import TrainParams
from xtcav_ml.config.tune import TuneParams
from xtcav_ml.figures import training
from xtcav_ml.figures.drawing import write_png
from xtcav_ml.science import epochs
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError
from xtcav_ml.tuning import repeats, studies
from xtcav_ml.tuning.states import INFEASIBLE, NOTE


def score_name(spec: LearningSpec) -> str:
    """Return what is maximized, in words: the best score of an epoch."""
    heads = {"val_cross_entropy": spec.classes, "val_squared_error": spec.regression}
    return "minus " + epochs.described([name for name, learned in heads.items() if learned])


def write(study: Study, base: TrainParams, tune: TuneParams, scored_by: str, out: Path) -> list[Path]:
    """Write best.json and charts of history and importance; return them. `scored_by` names what is maximized.

    Raises UserError if no trial was completed.
    """
    complete = [trial for trial in studies.ended(study) if trial.state == TrialState.COMPLETE]
    best = chosen(study)
    sure = repeats.judge(study.trials)
    content = {
        "study": study.study_name,
        "trial": best.number,
        "score": best.value,
        "scored_by": scored_by,
        "epochs": tune.epochs,
        "params": best.params,
        "better": sure.better if sure else None,
        "verdict": sure.verdict if sure else "",
        "train": flatten({"train": space.applied(base, best.params).model_dump(mode="json")}),
    }
    atomic.write_json(out / "best.json", content)
    scored = [(trial.number, trial.value, trial.state.name) for trial in studies.ended(study)]
    charts = {"history": training.search_history(scored, scored_by)}
    if len({trial.value for trial in complete}) > 1:  # importance is a share of the variance
        charts["importance"] = training.importances(_importances(studies.ended(study)), len(complete))
    for name, figure in charts.items():
        write_png(out / f"{name}.png", figure)
    return [out / "best.json", *(out / f"{name}.png" for name in charts)]


def _importances(trials: list[FrozenTrial]) -> dict[str, float]:
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    return dict(optuna.importance.get_param_importances(study))


def chosen(study: Study) -> FrozenTrial:
    """Return the trial that is best over seeds, if that is known and it was completed, or else with its own.

    Raises UserError if no trial was completed.
    """
    sure = repeats.judge(study.trials)
    winner = study.trials[sure.number] if sure else None
    best = winner if winner is not None and winner.state == TrialState.COMPLETE else studies.best(study)
    if best is None:
        raise UserError(_no_trial(study))
    return best


def _no_trial(study: Study) -> str:
    """Return why no trial was completed, with the cure."""
    ended = studies.ended(study)
    notes = [trial.user_attrs.get(NOTE) or trial.state.name for trial in ended]
    infeasible = [note.removeprefix(INFEASIBLE) for note in notes if note.startswith(INFEASIBLE)]
    if infeasible and len(infeasible) == len(study.trials):
        reason, count = Counter(infeasible).most_common(1)[0]
        return f"tune.space: no trial can be trained, {count} of {len(notes)} for one reason: {reason}"
    shown = "; ".join(f"trial {number}: {note}" for number, note in enumerate(notes[:3])) or "none ended"
    late = len(ended) < len(study.trials) or not ended
    cure = "raise tune.minutes, or run `make tune` again" if late else "correct what the trials report"
    return f"tune: no trial was completed (found {len(notes)} others: {shown}, expected at least 1). Fix: {cure}"
