"""The search by two workers of this machine, as a user runs it."""

import contextlib
import random
import signal
import subprocess
import time

import optuna
import psutil
import pytest

from tests.end_to_end.conftest import SMALL_SEARCH, Project

FEW_TRIALS = {
    **SMALL_SEARCH,
    "tune.trials": 5,
    "tune.epochs": 30,
    "tune.startup_trials": 4,
    "tune.rungs": 1,
    "tune.best": 1,
}


FEW = 20
"""Kills in all searches together."""
LONGEST = 2.0
"""Seconds after which something is killed: a training may be starting, in an epoch, or at its end."""


def trials_of(project):
    storage = f"sqlite:///{project.folder}/results/tuning/study.db"
    (summary,) = optuna.get_all_study_summaries(storage)
    return optuna.load_study(study_name=summary.study_name, storage=storage).trials


def trainings(driver):
    """Return the processes that train, each with the one that it is a fork of, and the worker."""
    found = []
    with contextlib.suppress(psutil.Error):
        for worker in psutil.Process(driver.pid).children():
            for server in worker.children():
                if "forkserver" in " ".join(server.cmdline()):
                    found += [(training, server, worker) for training in server.children()]
    return found


def wait_for_training(driver):
    while driver.poll() is None:
        if found := trainings(driver):
            return found
        time.sleep(0.2)
    return []


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project.with_small_frames(tmp_path_factory.mktemp("workers"), real=True, **FEW_TRIALS)


def kill_something(driver, choose):
    """Kill a training, what it is a fork of, a worker or the driver, or ask the driver to stop; nothing, if it has ended."""
    how = choose.choice([0, 0, 1, 2, 2, signal.SIGKILL, signal.SIGTERM])
    found = trainings(driver)
    if not isinstance(how, signal.Signals):
        for processes in found[:1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                processes[how].kill()
        return
    driver.send_signal(how)
    _, said = driver.communicate(timeout=500)
    assert b"Traceback" not in said, said.decode()
    left = [one for processes in found for one in processes]
    psutil.wait_procs(left, timeout=60)
    assert not [one for one in left if one.is_running()], "a worker outlives its driver"


def search_with_kills(project, choose, most):
    """Run the search to its end with at most so many kills, each soon after a training began; return their number."""
    kills = 0
    while True:
        driver = project.start("tune", "--workers", "2")
        while kills < most and wait_for_training(driver):
            with contextlib.suppress(subprocess.TimeoutExpired):
                driver.wait(choose.uniform(0, LONGEST))
            if driver.poll() is None:
                kill_something(driver, choose)
                kills += 1
        _, said = driver.communicate(timeout=500)
        assert b"Traceback" not in said, said.decode()
        if driver.returncode == 0:
            return kills
        assert kills, said.decode()


def assert_budget_met(project):
    """Each trial is there once, in a state that an uninterrupted search leaves, and so is its run, each epoch once."""
    trials = trials_of(project)
    assert len(trials) == 5
    assert {(trial.state.name, trial.last_step) for trial in trials} == {("COMPLETE", 30), ("PRUNED", 10)}
    # One goes on at a time: the best of three, of four, and of five, which kills let reach the rung in any order.
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    assert len(complete) <= 3
    assert max(trials, key=lambda trial: trial.intermediate_values[10]) in complete
    runs = project.runs("tags.stage = 'trial'")
    assert sorted(run.data.tags["run.key"] for run in runs) == sorted(trial.user_attrs["run_key"] for trial in trials)
    for run in runs:
        steps = [row.step for row in project.client().get_metric_history(run.info.run_id, "val_accuracy")]
        assert steps == [*range(1, len(steps) + 1)]
    assert not list((project.folder / "results/tuning").rglob("*.ckpt"))


@pytest.mark.parametrize("kills", [FEW, pytest.param(10 * FEW, marks=pytest.mark.slow)])
def test_searches_whose_workers_trainings_and_drivers_are_killed_meet_their_budget(project, tmp_path, kills):
    choose, done = random.Random(kills), 0
    while done < kills:
        first = (done, kills) == (0, FEW)  # which the next test goes on with
        searched = project if first else Project.with_small_frames(tmp_path / str(done), real=True, **FEW_TRIALS)
        done += search_with_kills(searched, choose, min(10, kills - done))
        assert_budget_met(searched)
        print(f"{done} kills", flush=True)


def test_a_trial_of_a_worker_is_the_one_of_a_search_without(project, tmp_path):
    """The study has the same name, so that either goes on where the other was."""
    again = project.run("xtcav", "tune").stdout
    assert "5 of 5 trials done" in again
    alone = Project.with_small_frames(tmp_path / "alone", real=True, **FEW_TRIALS)
    alone.set(**{"tune.trials": 1})
    alone.run("xtcav", "tune")
    (first,) = trials_of(alone)
    by_worker = trials_of(project)[0]
    assert by_worker.params == first.params
    for epoch, score in by_worker.intermediate_values.items():
        assert first.intermediate_values[epoch] == score
