"""What comes out of a search: the best trial, as best.json, a page with charts, or why there is none."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from xtcav_ml.config import space
from xtcav_ml.config.base import flatten
from xtcav_ml.config.paths import BEST, SEARCH, SEARCH_PAGE
from xtcav_ml.config.train import TrainParams
from xtcav_ml.config.tune import TuneParams
from xtcav_ml.data import search_file
from xtcav_ml.figures import search as charts_of
from xtcav_ml.figures.drawing import write_png
from xtcav_ml.report import search as page
from xtcav_ml.science import epochs
from xtcav_ml.science.search import Search
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError
from xtcav_ml.tuning import objectives, repeats, rungs, studies, summary
from xtcav_ml.tuning.found import gather
from xtcav_ml.tuning.states import INFEASIBLE, NOTE
from xtcav_ml.tuning.verdict import SURE, verdict


def score_name(spec: LearningSpec) -> str:
    """Return what is maximized, in words: the best score of an epoch."""
    heads = {"val_cross_entropy": spec.classes, "val_squared_error": spec.regression}
    return "minus " + epochs.described([name for name, learned in heads.items() if learned])


def metric_names(spec: LearningSpec, tune: TuneParams) -> list[str]:
    """Return the names of a trial's values."""
    return [score_name(spec), *(objectives.UNITS[name] for name in tune.objectives[1:])]


def finalists(study: Study, tune: TuneParams) -> list[FrozenTrial]:
    """Return the trials to repeat with other seeds: the best ones, of several objectives the most accurate on the front."""
    found = rungs.finalists(rungs.reopened(study.get_trials(deepcopy=False)), tune.best)
    return found if len(tune.objectives) == 1 else studies.front(study)[: tune.best]


def write(study: Study, base: TrainParams, tune: TuneParams, scored_by: str, out: Path) -> list[Path]:
    """Write best.json, search.json, a page and the charts on it; return them. `scored_by` names what is maximized.

    Raises UserError if no trial was completed; what there is is then drawn all the same.
    """
    best = best_known(study)
    found = _described(study, base, tune, scored_by, best)
    search_file.write(out / SEARCH.name, found)
    drawn = pictures(found, out)
    if best is None:
        raise UserError(_no_trial(study))
    content = {
        "study": study.study_name,
        "trial": best.number,
        "score": objectives.score(best),
        "scored_by": scored_by,
        "epochs": tune.epochs,
        **_promoted(best, base, repeats.judge(study.trials)),
        "front": front_entries(study, base, tune),
    }
    atomic.write_json(out / BEST.name, content)
    return [out / BEST.name, out / SEARCH.name, *drawn]


def said(out: Path, study: Study) -> dict[str, str]:
    """Return the summary in the folder `out` by headings; empty if there is none, or it is another study's."""
    path = out / SEARCH.name
    found = search_file.read(path) if path.exists() else None
    return found.summary if found is not None and found.study == study.study_name else {}


def pictures(found: Search, out: Path) -> list[Path]:
    """Write the page on a search, and each of its charts as PNG, instead of those of an earlier one; return them."""
    page.write_page(found, out / SEARCH_PAGE.name)
    for earlier in out.glob("*.png"):
        earlier.unlink()
    charts = {out / f"{name}.png": figure for name, (_, figure) in charts_of.charts(found).items()}
    for path, figure in charts.items():
        write_png(path, figure)
    return [out / SEARCH_PAGE.name, *charts]


def _described(study: Study, base: TrainParams, tune: TuneParams, scored_by: str, best: FrozenTrial | None) -> Search:
    """Return all that was found, with its summary in words."""
    found = gather(study, base, tune, scored_by, best.number if best else None)
    compared, advice = _compared(study, found, best) if best else ("", "correct what the trials report")
    if len(found.trials) < tune.trials or not all(trial.state.is_finished() for trial in study.trials):
        advice = f"`make tune` goes on where the time ended{f'; or {advice}' if best else ''}"
    return dataclasses.replace(found, summary=summary.sentences(study, found, compared, advice))


def _compared(study: Study, found: Search, best: FrozenTrial) -> tuple[str, str]:
    """Return whether the best trial is better than params.yaml, over seeds if that is known, and what to do next."""
    sure, shots = repeats.judge(study.trials), len(best.user_attrs.get(repeats.SHOTS) or ())
    regression = not shots or "squared_error" in found.scored_by
    compared, advice = verdict(rungs.searched(study.trials), found.baseline, shots, regression)
    return (sure.verdict if sure else compared), (SURE if sure and sure.better else advice)


def front_entries(study: Study, base: TrainParams, tune: TuneParams) -> list[dict[str, Any]]:
    """Return the trials that no other one beats in all objectives, each with its values by name and what promote needs."""
    sure = {one.number: one for one in repeats.verdicts(study.trials)}
    return [
        {
            "trial": one.number,
            "values": dict(zip(tune.objectives, one.values, strict=True)),
            **_promoted(one, base, sure.get(one.number)),
        }
        for one in studies.front(study)
    ]


def _promoted(trial: FrozenTrial, base: TrainParams, sure: repeats.Sure | None) -> dict[str, Any]:
    """Return what `xtcav promote` needs of a trial."""
    return {
        "params": trial.params,
        "better": sure.better if sure else None,
        "verdict": sure.verdict if sure else "",
        "train": flatten({"train": space.applied(base, trial.params).model_dump(mode="json")}),
    }


def best_known(study: Study) -> FrozenTrial | None:
    """Return the trial that is best over seeds, if that is known and it was completed, or else with its own; None of none."""
    sure = repeats.judge(study.trials)
    winner = study.trials[sure.number] if sure else None
    return winner if winner is not None and winner.state == TrialState.COMPLETE else studies.best(study)


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
