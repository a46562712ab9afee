"""The tuner on the prepared set: trials in their right states, in Optuna and in MLflow, and a winner that can be repeated."""

import contextlib
import random
import re
import signal
import subprocess
import time

import optuna
import optuna_dashboard
import psutil
import pytest
from werkzeug.test import Client

from tests.end_to_end.conftest import Project
from xtcav_ml.data.history import read_history
from xtcav_ml.science import epochs

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
    "tune.rungs": 1,
    "tune.best": 1,
    "tune.seeds": 0,
}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    project = Project.with_small_frames(tmp_path_factory.mktemp("tuned"), **FEW_TRIALS)
    began = time.monotonic()
    project.output = project.run("xtcav", "tune").stdout
    project.seconds = time.monotonic() - began
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
        assert run.data.tags.get("note", "") == trial.user_attrs.get("note", "").removeprefix("infeasible: ")
        assert ("note" in run.data.tags) == (run.data.tags["trial.state"] != "complete")
        if trial.state.name == "COMPLETE":
            assert run.data.metrics["best_score"] == trial.value


def test_the_first_trial_is_what_params_yaml_says(tuned):
    assert study(tuned).trials[0].params == {
        "train.optimizer.learning_rate": 0.05,
        "train.model.blocks.0.kernel": 3,
        "train.model.blocks.0.pool_window": 2,
    }


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
    assert stored >= {"best.json", "search.json", "search.html", "history.png", "rungs.png", "parallel.png"}
    assert re.search(rf"Best +trial {best['trial']}, minus mean val_cross_entropy of 5 epochs", tuned.output)
    assert f"Pictures   {(tuned.folder / 'results/tuning/search.html').resolve().as_uri()}" in tuned.output


def test_optuna_s_dashboard_names_what_is_maximized(tuned):
    app = optuna_dashboard.wsgi(f"sqlite:///{tuned.folder}/results/tuning/study.db")
    client = Client(app)
    (listed,) = client.get("/api/studies").json["study_summaries"]
    shown = client.get(f"/api/studies/{listed['study_id']}").json
    assert shown["objective_names"] == ["minus mean val_cross_entropy of 5 epochs"]
    assert len(shown["trials"]) == 5


def test_a_spent_budget_is_said_and_a_larger_one_continues(tuned):
    again = tuned.run("xtcav", "tune").stdout
    assert "5 of 5 trials done" in again
    assert len(study(tuned).trials) == 5


def outcome(project):
    """Return all that the study and MLflow say of the trials, less times and the names of runs."""
    runs = {run.data.tags["run.key"]: run for run in project.runs("tags.stage = 'trial'")}
    trials = study(project).trials
    assert len(runs) == len(trials), "a trial has no run, or two"
    told = [
        (one.state.name, one.params, one.value, one.intermediate_values, one.user_attrs.get("note")) for one in trials
    ]
    ended = [runs[trial.user_attrs["run_key"]] for trial in trials]
    steps = [
        [row.step for row in project.client().get_metric_history(run.info.run_id, "val_accuracy")] for run in ended
    ]
    return told, [run.info.status for run in ended], steps, project.json("results/tuning/best.json")


def trials_of(project):
    """Return the processes of trials: children of a process that is a fork, as they are, in the project's folder."""
    forks = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(project.folder.resolve()) and "tests.warm_process" in process.cmdline():
                forks[process.pid] = process, process.ppid()
    return [process for process, parent in forks.values() if parent in forks]


def end_somehow(project, tuner, choose):
    """Kill the tuner, ask it to stop, or kill the process of its trial, after which it goes on."""
    how = choose.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, "trial", "trial"])
    if how == "trial":
        for trial in trials_of(project):
            with contextlib.suppress(psutil.NoSuchProcess):
                trial.send_signal(choose.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
        return
    tuner.send_signal(how)
    _, said = tuner.communicate(timeout=120)
    assert b"Traceback" not in said, said.decode()


def search_with_kills(project, choose, most, longest):
    """Run the search to its end with at most so many kills, each after at most `longest` seconds; return their number."""
    kills = 0
    while True:
        tuner = project.start("tune", warm=True)
        while kills < most and tuner.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                tuner.wait(choose.uniform(0, longest))
            if tuner.poll() is None:
                end_somehow(project, tuner, choose)
                kills += 1
        _, said = tuner.communicate(timeout=500)
        if tuner.returncode == 0:
            if b"Fix: run `xtcav sync`" in said:  # told to stop when it had only to upload
                project.run("xtcav", "sync")
            return kills
        assert kills, said.decode()


def test_a_search_that_is_killed_four_times_is_the_uninterrupted_one(tuned, tmp_path):
    project = Project.with_small_frames(tmp_path / "killed", **FEW_TRIALS)
    search_with_kills(project, random.Random(3), 4, tuned.seconds / 2)
    assert outcome(project) == outcome(tuned)
    assert not list((project.folder / "results/tuning").rglob("*.ckpt"))
    assert not list((project.folder / "results/tuning").glob(".*"))


def test_promoted_parameters_reach_the_score_of_their_trial(tuned):
    best = tuned.json("results/tuning/best.json")
    before = (tuned.folder / "params.yaml").read_text()
    tuned.set(**{"train.batch_size": 31})
    refused = tuned.run("xtcav", "promote", check=False)
    assert refused.returncode == 1
    assert "not shown to be better than params.yaml (found 'no repeats with other seeds'" in refused.stderr
    refused = tuned.run("xtcav", "promote", "--force", check=False)
    assert refused.returncode == 1
    assert "found other values of train.batch_size" in refused.stderr
    (tuned.folder / "params.yaml").write_text(before)
    tuned.run("xtcav", "promote", "--force")
    after = (tuned.folder / "params.yaml").read_text()
    assert before.count("#") == after.count("#")
    changed = [line for line in after.splitlines() if line not in before.splitlines()]
    assert len(changed) <= len(SPACE) + 1
    tuned.run("dvc", "repro")
    scores = epochs.scores(read_history(tuned.folder / "results/history.jsonl"))
    assert scores[tuned.json("results/evaluation.json")["best_epoch"] - 1] == best["score"]
    assert best["scored_by"] == "minus mean val_cross_entropy of 5 epochs"


def test_several_objectives_end_in_a_front_and_a_later_search_borrows_from_it(tmp_path):
    several = {"tune.objectives": ["accuracy", "milliseconds", "memory"], "tune.rungs": 0, "tune.epochs": 1}
    space = {name: SPACE[name] for name in list(SPACE)[:2]} | {"train.model.coarsen": {"choices": [1, 2]}}
    project = Project.with_small_frames(tmp_path, **FEW_TRIALS | several | {"tune.space": space, "tune.trials": 3})
    said = project.run("xtcav", "tune").stdout
    assert "Pareto front" in said
    best = project.json("results/tuning/best.json")
    runs = {run.data.tags["mlflow.runName"]: run.data.metrics for run in project.runs("tags.stage = 'trial'")}
    for one in best["front"]:
        for name in ("milliseconds", "memory"):
            assert runs[f"trial-{one['trial']}"][name] == one["values"][name] > 0
    last = best["front"][-1]
    project.run("xtcav", "promote", str(last["trial"]), "--force")
    assert f"coarsen: {last['params']['train.model.coarsen']}" in (project.folder / "params.yaml").read_text()
    project.set(**{"train.batch_size": 31, "tune.trials": 2, "tune.startup_trials": 2})
    assert "Borrowed for the start-up: the best of 3 trials of peaks-" in project.run("xtcav", "tune").stdout
    (parent,) = [run for run in project.runs("tags.stage = 'tune'") if "borrowed" in run.data.tags]
    (follower,) = [run for run in project.runs("tags.stage = 'trial'") if "borrowed" in run.data.tags]
    assert follower.data.tags["mlflow.runName"] == "trial-1"
    assert follower.data.tags["borrowed"] == parent.data.tags["borrowed"]


@pytest.mark.slow
def test_two_hundred_kills(tuned, tmp_path):
    """Prints how many kills and searches there were."""
    choose, kills, searches = random.Random(5), 0, 0
    while kills < 200:
        project = Project.with_small_frames(tmp_path / f"killed-{searches}", **FEW_TRIALS)
        kills += search_with_kills(project, choose, choose.randint(10, 40), tuned.seconds / 4)
        searches += 1
        assert outcome(project) == outcome(tuned)
        print(f"{kills} kills in {searches} searches, each equal to the one without", flush=True)
