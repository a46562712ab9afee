"""The tuner on the prepared set: trials in their right states, in Optuna and in MLflow, and a winner that can be repeated."""

import contextlib
import signal
import sqlite3
import time

import optuna
import pytest

from tests.end_to_end.conftest import Project

SPACE = {
    "train.optimizer.learning_rate": {"low": 0.01, "high": 0.3, "log": True},
    "train.model.blocks.0.kernel": {"choices": [3, 5]},
    "train.model.blocks.0.pool_window": {"low": 2, "high": 50, "step": 48},  # 50 is too large for a map of 24 x 20
}
FEW_TRIALS = {
    "tune.space": SPACE,
    "tune.trials": 5,
    "tune.epochs": 3,
    "tune.startup_trials": 1,
    "tune.warmup_epochs": 1,
}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    project = Project.with_small_frames(tmp_path_factory.mktemp("tuned"), **FEW_TRIALS)
    project.output = project.run("xtcav", "tune").stdout
    return project


def study(project):
    storage = f"sqlite:///{project.folder}/results/tuning/study.db"
    (summary,) = optuna.get_all_study_summaries(storage)
    return optuna.load_study(study_name=summary.study_name, storage=storage)


def test_every_trial_is_a_child_run_in_its_right_state(tuned):
    expected = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
    trials = study(tuned).trials
    (parent,) = tuned.runs("tags.stage = 'tune'")
    children = {
        run.data.tags["run.key"]: run for run in tuned.runs(f"tags.mlflow.parentRunId = '{parent.info.run_id}'")
    }
    assert parent.info.status == "FINISHED"
    assert len(trials) == len(children) == 5
    for trial in trials:
        run = children[trial.user_attrs["run_key"]]
        assert run.info.status == expected[trial.state.name]
        assert set(run.data.params) == set(SPACE)
        if trial.state.name == "COMPLETE":
            assert run.data.metrics["best_score"] == trial.value


def test_the_first_trial_is_what_params_yaml_says(tuned):
    first = study(tuned).trials[0]
    assert first.params == {
        "train.optimizer.learning_rate": 0.05,
        "train.model.blocks.0.kernel": 3,
        "train.model.blocks.0.pool_window": 2,
    }
    assert first.state.name == "COMPLETE"


def test_what_cannot_be_built_is_refused_before_training(tuned):
    refused = [trial for trial in study(tuned).trials if trial.params["train.model.blocks.0.pool_window"] == 50]
    assert refused, "the seed of the study draws no such trial: choose another"
    for trial in refused:
        assert trial.state.name == "PRUNED"
        assert trial.user_attrs["note"].startswith("infeasible: train.model.blocks.0.pool_window")
        assert not trial.intermediate_values


def test_what_was_found_is_written_and_drawn(tuned):
    best = tuned.json("results/tuning/best.json")
    assert best["params"] == study(tuned).best_params
    assert best["score"] == study(tuned).best_value
    assert (tuned.folder / "results/tuning/history.png").stat().st_size > 1000
    (parent,) = tuned.runs("tags.stage = 'tune'")
    stored = {file.path for file in tuned.client().list_artifacts(parent.info.run_id)}
    assert stored >= {"best.json", "history.png"}
    assert f"Best: trial {best['trial']}" in tuned.output


def test_a_spent_budget_is_said_and_a_larger_one_continues(tuned):
    again = tuned.run("xtcav", "tune").stdout
    assert "5 of 5 trials done" in again
    assert len(study(tuned).trials) == 5


def test_promoted_parameters_reach_the_score_of_their_trial(tuned):
    best = tuned.json("results/tuning/best.json")
    before = (tuned.folder / "params.yaml").read_text()
    tuned.set(**{"train.batch_size": 31})
    refused = tuned.run("xtcav", "promote", check=False)
    assert refused.returncode == 1
    assert "found other values of train.batch_size" in refused.stderr
    (tuned.folder / "params.yaml").write_text(before)
    tuned.run("xtcav", "promote")
    after = (tuned.folder / "params.yaml").read_text()
    assert before.count("#") == after.count("#")
    changed = [line for line in after.splitlines() if line not in before.splitlines()]
    assert len(changed) <= len(SPACE) + 1
    tuned.run("dvc", "repro")
    assert tuned.json("results/metrics.json")["validation_accuracy"] == best["score"]


def test_a_killed_tuner_is_continued(tmp_path):
    project = Project.with_small_frames(tmp_path, **{**FEW_TRIALS, "tune.trials": 2})
    tuner = project.start("tune")
    try:
        database = tmp_path / "results/tuning/study.db"
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and not (database.is_file() and _running(project)):
            time.sleep(0.2)
        assert _running(project), "the tuner never began a trial"
    finally:
        tuner.send_signal(signal.SIGKILL)
        tuner.wait()
    project.run("xtcav", "tune")
    trials = study(project).trials
    assert [trial.state.name for trial in trials].count("FAIL") == 1
    assert all(trial.state.is_finished() for trial in trials)
    assert len(trials) == 3  # the budget of 2, and the one that was killed
    lost = next(trial for trial in trials if trial.state.name == "FAIL")
    retried = next(trial for trial in trials if trial.user_attrs.get("retry_of") == lost.number)
    assert retried.params == lost.params
    assert retried.state.name == "COMPLETE"
    assert all(run.info.status != "RUNNING" for run in project.runs())


def _running(project):
    """Return whether a trial has begun; asked of SQLite, since Optuna would make the tables that the tuner is making."""
    question = "SELECT count(*) FROM trials JOIN trial_user_attributes USING (trial_id) WHERE state = 'RUNNING'"
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{project.folder}/results/tuning/study.db?mode=ro", uri=True)
        ) as file:
            return file.execute(question).fetchone()[0] > 0
    except sqlite3.OperationalError:  # the file is there before its tables are
        return False
