"""The search without Keras: trials of a known score, in a study and a store of their own."""

import itertools
import json
from collections import Counter

import optuna
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from optuna.trial import TrialState

from tests.tuning.conftest import Known, run_until_done
from xtcav_ml.config.tune import Choices, Range
from xtcav_ml.system.child_process import Killed
from xtcav_ml.system.errors import DiskFull, UserError
from xtcav_ml.tracking import mlflow_store
from xtcav_ml.tracking.tracker import Run, Tracker
from xtcav_ml.tuning import loop, rungs, studies


def refuse(*_, **__):
    raise MlflowException("the store is full")


def test_trials_are_told_and_recorded(search, tmp_path):
    search.run_trials()
    assert [trial.state for trial in search.study.trials] == [TrialState.COMPLETE] * 3
    assert search.tracker.uploader.drain() == []
    client, experiment = mlflow_store.connect(tmp_path)
    assert {run.info.status for run in client.search_runs([experiment])} == {"FINISHED"}
    children = client.search_runs([experiment], "tags.stage = 'trial'")
    assert [run.data.tags["mlflow.note.content"] for run in children] == 3 * ["**Complete** after epoch 2"]
    (parent,) = client.search_runs([experiment], "tags.stage = 'tune'")
    best = search.study.best_trial
    assert (
        f"Best: trial {best.number}, minus mean val_cross_entropy of 5 epochs {best.value:.3f}"
        in parent.data.tags["mlflow.note.content"]
    )
    assert parent.data.params["train.model.blocks.kernel"] == "8, 6"  # a list is one value
    assert parent.data.params["tune.space.train.optimizer.momentum"].startswith("low 0.5, high 0.9")
    assert len(parent.data.params) <= 70
    assert {trial.user_attrs["val_accuracy"] for trial in search.study.trials} == {0.1}  # of the kept epoch


def test_a_larger_budget_is_taken_by_the_same_run(search, tmp_path, capsys):
    for trials in (1, 2):
        search.tune = search.tune.model_copy(update={"trials": trials})
        search.run_trials()
    assert search.tracker.uploader.drain() == []
    assert "refused" not in capsys.readouterr().err
    client, experiment = mlflow_store.connect(tmp_path)
    (run,) = client.search_runs([experiment], "tags.stage = 'tune'")
    assert (run.info.status, run.data.tags["tune.trials"], run.data.metrics["trials"]) == ("FINISHED", "2", 2)


@pytest.mark.thorough
@pytest.mark.parametrize("names", [["log_batch"], ["set_terminated"], ["log_batch", "set_terminated"]])
def test_a_store_that_fails_does_not_end_the_search(search, tmp_path, monkeypatch, names):
    for name in names:
        monkeypatch.setattr(MlflowClient, name, refuse)
    search.run_trials()
    assert [trial.state for trial in search.study.trials] == [TrialState.COMPLETE] * 3
    assert search.tracker.uploader.drain()
    assert search.tracker.uploader.failure == "the store is full"


def outcome(study):
    """Return all that a trial says but its run and its times."""
    return [
        (trial.state, trial.params, trial.value, trial.intermediate_values, trial.user_attrs.get("note"))
        for trial in study.trials
    ]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Tracker, "start"),
        (Run, "params"),
        (Run, "metrics"),
        (Run, "finish"),
        (optuna.Study, "add_trial"),
        (optuna.Study, "tell"),
        (optuna.Trial, "report"),
        (rungs, "promoted"),
        (rungs, "leader"),
    ],
)
def test_whatever_ends_a_search_it_goes_on_as_if_nothing_had(search, tmp_path, monkeypatch, owner, name):
    search.tune = search.tune.model_copy(update={"trials": 7, "rungs": 1})
    search.run_trials()
    assert Counter(trial.state.name for trial in search.study.trials) == {"COMPLETE": 2, "PRUNED": 5}
    expected = outcome(search.study)
    search.study = studies.open_study(search.tune, {"another": 1}, tmp_path / "study.db")
    real, ends = getattr(owner, name), itertools.cycle(["before", "after", *9 * [""]])

    def ended(*arguments, **options):
        when = next(ends)
        if when == "before":
            raise RuntimeError
        result = real(*arguments, **options)
        if when == "after":
            raise RuntimeError
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, ended)
        run_until_done(search)
    assert outcome(search.study) == expected


def test_a_process_that_is_killed_is_followed_by_another_but_not_for_ever(search, monkeypatch):
    started = []

    class Fragile(Known):
        def __iter__(self):
            started.append(self.params.optimizer.momentum)
            if started[-1] == search.base.optimizer.momentum:
                raise Killed("trial 0: killed")
            for number, values in super().__iter__():
                yield number, values
                if len(started) % 3:
                    raise Killed("killed")

    monkeypatch.setattr(loop, "ChildProcess", Fragile)
    search.run_trials()
    assert [trial.state.name for trial in search.study.trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert search.study.trials[0].user_attrs["note"] == "trial 0: killed"
    assert started.count(search.base.optimizer.momentum) == loop.STARTS
    assert len(started) > loop.STARTS + 2


def test_a_full_disk_ends_the_search_and_not_the_trial(search, monkeypatch):
    def full(_):
        raise DiskFull("disk: full")

    with monkeypatch.context() as patch, pytest.raises(DiskFull):
        patch.setattr(Known, "__iter__", full)
        search.run_trials()
    assert [trial.state for trial in search.study.trials] == [TrialState.RUNNING]
    search.run_trials()
    assert [trial.state for trial in search.study.trials] == [TrialState.COMPLETE] * 3


def test_a_trial_that_the_time_limit_ends_is_continued_by_the_next_call(search, monkeypatch):
    search.run_trials()
    expected = outcome(search.study)
    search.study = studies.open_study(search.tune, {"another": 1}, search.out / "study.db")
    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"tune\.minutes"):
        patch.setattr(loop.rules, "require_trial", lambda *_: setattr(search, "deadline", 0.0))
        search.run_trials()
    assert [trial.state for trial in search.study.trials] == [TrialState.RUNNING]
    search.deadline = float("inf")
    search.run_trials()
    assert outcome(search.study) == expected


def test_a_trial_that_was_completed_is_told_whatever_its_run_says_then(search, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Run, "finish", stop)
        search.run_trials()
    assert [trial.state for trial in search.study.trials] == [TrialState.COMPLETE]


@pytest.mark.parametrize(
    ("space", "memory", "reason"),
    [
        (
            {"train.model.blocks.1.kernel": Choices(choices=(300, 400))},
            4,
            r"2 of 2.*blocks\.1\.kernel.*Fix: lower",
        ),
        ({"train.optimizer.momentum": Range(low=0.5, high=0.9)}, 0.001, r"tune\.memory_gb.*0\.0.*Fix: raise it"),
    ],
)
def test_a_search_without_a_trainable_trial_names_the_reason_and_its_cure(search, tmp_path, space, memory, reason):
    search.tune = search.tune.model_copy(update={"space": space, "memory_gb": memory, "trials": 2})
    with pytest.raises(UserError, match=reason) as error:
        search.run_trials()
    assert "tune.minutes" not in str(error.value)


def test_one_trial_goes_on_for_three_that_stop_and_the_best_one_reaches_the_end(search):
    search.tune = search.tune.model_copy(update={"trials": 5, "epochs": 9, "rungs": 2})
    starts = []

    class Longer(Known):
        def __iter__(self):
            starts.append(self.params.optimizer.momentum)
            for number in range(1, 10):
                yield number, {"val_cross_entropy": 1 - self.params.optimizer.momentum}
                if self.stop:
                    return

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "ChildProcess", Longer)
        search.run_trials()
    trials = search.study.trials
    best = max(trials, key=lambda trial: trial.params["train.optimizer.momentum"])
    first = max(trials[:3], key=lambda trial: trial.params["train.optimizer.momentum"])
    lasts = {trial.number: trial.last_step for trial in trials}
    assert lasts[first.number] == (9 if first is best else 3)
    assert sum(last == 1 for last in lasts.values()) >= 3
    notes = [trial.user_attrs["note"] for trial in trials if trial.last_step == 1]
    assert "not among the best third after epoch 1: number" in notes[0]
    assert not list(search.checkpoints.rglob("*.ckpt"))


def test_the_best_trials_and_params_yaml_are_repeated_with_other_seeds_and_one_wins(search):
    search.tune = search.tune.model_copy(update={"trials": 7, "rungs": 1, "best": 2})
    search.seeds = (2, 3)
    search.base = search.base.model_copy(
        update={"optimizer": search.base.optimizer.model_copy(update={"momentum": 0.5})}
    )
    search.run_trials()
    repeated = [trial for trial in search.study.trials if "repeats" in trial.user_attrs]
    numbers = Counter(trial.user_attrs["repeats"] for trial in repeated)
    assert sorted(numbers) == [-1, *sorted(rungs_of(search))]
    assert set(numbers.values()) == {2}
    assert {trial.state for trial in search.study.trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    best = json.loads((search.out / "best.json").read_text())
    winner = max(search.study.trials, key=lambda trial: trial.params.get("train.optimizer.momentum", 0))
    assert (best["trial"], best["better"]) == (winner.number, True)
    assert f"Yes: trial {winner.number} over 2 seeds" in best["verdict"]
    count = len(search.study.trials)
    search.run_trials()
    assert len(search.study.trials) == count, "a search that has ended is not repeated again"


def rungs_of(search):
    """Return the numbers of the two best trials."""
    return [trial.number for trial in rungs.finalists(rungs.searched(search.study.trials), 2)]
