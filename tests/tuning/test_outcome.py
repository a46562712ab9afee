"""What a search leaves behind: a study of known scores, drawn and summed up."""

import math
import re

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from xtcav_ml.config.tune import Choices, Range
from xtcav_ml.data import search_file
from xtcav_ml.system.errors import UserError
from xtcav_ml.tuning import found, outcome, repeats, rungs, samplers, states, summary
from xtcav_ml.tuning.verdict import ACCURACY

MOMENTUM, POOL = "train.optimizer.momentum", "train.model.blocks.0.pool"
SPACE = {MOMENTUM: Range(low=0.5, high=0.99), POOL: Choices(choices=("max", "average"))}
SCORED_BY = "minus mean val_cross_entropy of 5 epochs"


@pytest.fixture
def rules(params):
    return params.tune.model_copy(update={"trials": 12, "epochs": 9, "rungs": 1, "space": SPACE})


def trial(momentum, epochs, state=TrialState.RUNNING, note="", pool="max", **attributes):
    """A trial whose score is its momentum less 1, and a little more in each epoch."""
    curve = {epoch: momentum - 1 + epoch / 1000 for epoch in range(1, epochs + 1)}
    values = {MOMENTUM: momentum, POOL: pool} if momentum else {}
    right = [float(shot < 100 * momentum) for shot in range(100)]
    attributes |= {states.NOTE: note} if note else {}
    attributes |= {repeats.SHOTS: right, ACCURACY: momentum} if state == TrialState.COMPLETE else {}
    return create_trial(
        state=state,
        value=curve[epochs] if state == TrialState.COMPLETE else None,
        params=values,
        distributions={name: samplers.distribution(SPACE[name]) for name in values},
        intermediate_values=curve,
        user_attrs={"run_key": "", **attributes},
    )


@pytest.fixture
def study(params):
    """Twelve trials, of which the third is the best, one is infeasible and one has failed; repeats of it and params.yaml."""
    made = optuna.create_study(study_name="peaks", direction="maximize")
    made.add_trial(trial(0.85, 9, TrialState.COMPLETE))
    made.add_trial(trial(0.6, 0, TrialState.PRUNED, states.INFEASIBLE + "train.batch_size: too large"))
    made.add_trial(trial(0.95, 9, TrialState.COMPLETE))
    made.add_trial(trial(0.7, 2, TrialState.FAIL, "trial 3: killed"))
    made.add_trials(
        [trial(0.5 + i / 100, 3, TrialState.PRUNED, "not among", "average" if i % 2 else "max") for i in range(8)]
    )
    for seed in (2, 3):
        of = {rungs.SEED: seed}
        made.add_trial(trial(0.85 - seed / 100, 9, TrialState.COMPLETE, **{rungs.REPEATS: rungs.BASELINE, **of}))
        made.add_trial(trial(0.95 - seed / 100, 9, TrialState.COMPLETE, **{rungs.REPEATS: 2, **of}))
    return made


def test_all_is_written_and_what_is_written_says_it(study, params, rules, tmp_path):
    written = outcome.write(study, params.train, rules, SCORED_BY, tmp_path)
    assert sorted(path.name for path in written) == sorted(path.name for path in tmp_path.iterdir())
    charts = {"history", "rungs", "repeats", "importance", "slices", "parallel"}
    assert {path.stem for path in written if path.suffix == ".png"} == charts
    said = search_file.read(tmp_path / "search.json").summary
    assert list(said) == ["Search", "Best", "How sure", "Mattered", "Next"]
    counted = "12 trials: 2 complete, 8 pruned, 1 infeasible, 1 failed"
    assert said["Search"] == f"{counted}; 44 epochs trained instead of 90 without rungs; 4 trainings with other seeds"
    assert said["Best"] == f"trial 2, {SCORED_BY} -0.041; params.yaml -0.141"
    assert said["How sure"].startswith("Better than params.yaml? Yes: trial 2 over 2 seeds +10.0 points")
    assert said["Mattered"].startswith("momentum ")
    assert "10 trials from the others; so few trials" in said["Mattered"]
    assert "xtcav promote" in said["Next"]


def test_without_repeats_the_two_trainings_are_compared(study, params, rules, tmp_path, monkeypatch):
    monkeypatch.setattr(outcome, "pictures", lambda *_: [])
    alone = optuna.create_study(direction="maximize")
    alone.add_trials(rungs.searched(study.trials))
    outcome.write(alone, params.train, rules, SCORED_BY, tmp_path)
    said = search_file.read(tmp_path / "search.json").summary
    assert "on 100 validation shots" in said["How sure"]
    assert not said["Next"].startswith("`make tune` goes on")


def test_a_search_that_the_time_ended_says_that_it_goes_on(study, params, rules, tmp_path, monkeypatch):
    monkeypatch.setattr(outcome, "pictures", lambda *_: [])
    study.add_trial(trial(0.6, 3))
    outcome.write(study, params.train, rules, SCORED_BY, tmp_path)
    said = search_file.read(tmp_path / "search.json").summary
    assert said["Search"].startswith("13 trials: 1 waiting, 2 complete")
    assert said["Next"].startswith("`make tune` goes on where the time ended; or `.venv/bin/xtcav promote` writes")


def test_without_a_completed_trial_there_is_a_page_on_the_others_and_no_picture_of_an_earlier_search(
    study, params, rules, tmp_path
):
    (tmp_path / "pareto.png").touch()
    poor = optuna.create_study(direction="maximize")
    poor.add_trials([one for one in study.trials if one.state != TrialState.COMPLETE])
    with pytest.raises(UserError, match="no trial was completed"):
        outcome.write(poor, params.train, rules, SCORED_BY, tmp_path)
    assert "train.batch_size: too large" in (tmp_path / "search.html").read_text()
    assert search_file.read(tmp_path / "search.json").summary["Best"] == "no trial is complete yet"
    assert (tmp_path / "slices.png").exists()
    assert not (tmp_path / "best.json").exists()
    assert not (tmp_path / "pareto.png").exists()


def test_a_search_becomes_data_with_states_curves_and_parameters_in_order(study, params, rules):
    seen = found.gather(study, params.train, rules, SCORED_BY, 2)
    assert [one.state for one in seen.trials[:5]] == ["complete", "infeasible", "complete", "failed", "pruned"]
    assert seen.trials[1].why == "train.batch_size: too large"
    assert seen.trials[4].curve == [[1.0, -0.499], [2.0, -0.498], [3.0, -0.497]]
    assert all(list(one.params) == list(SPACE) for one in seen.trials)
    assert seen.stops == [3]
    assert seen.repeats == {"params.yaml": [0.83, 0.82], "trial 2": [0.93, 0.92]}
    assert (seen.shot_score, seen.objectives) == ("accuracy", [])


def test_what_decides_the_rank_is_what_mattered(study, params, rules):
    shares = found.gather(study, params.train, rules, SCORED_BY, 2).importances
    assert list(shares) == [MOMENTUM, POOL]
    assert math.isclose(sum(shares.values()), 1)
    assert found.importances([], []) == {}


def test_the_summary_is_printed_with_both_sets_of_parameters(study, params, rules, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(outcome, "pictures", lambda *_: [])
    outcome.write(study, params.train, rules, SCORED_BY, tmp_path)
    summary.print_summary(search_file.read(tmp_path / "search.json"), tmp_path)
    printed = capsys.readouterr().out
    assert f"Pictures   {(tmp_path / 'search.html').as_uri()}" in printed
    assert re.search(rf"│ {MOMENTUM} +│ +0.85 │ +0.95 │", printed)
