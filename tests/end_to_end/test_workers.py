"""The search by two workers of this machine, as a user runs it."""

import contextlib
import signal
import time
from collections import Counter

import optuna
import psutil
import pytest

from tests.end_to_end.conftest import Project

FEW_TRIALS = {
    "tune.space": {
        "train.optimizer.learning_rate": {"low": 0.01, "high": 0.3, "log": True},
        "train.model.blocks.0.kernel": {"choices": [3, 5]},
    },
    "tune.trials": 5,
    "tune.epochs": 3,
    "tune.startup_trials": 4,
    "tune.rungs": 1,
    "tune.best": 1,
    "tune.seeds": 0,
    "tune.minutes": 60,
    "train.threads": 1,
}


def trials_of(project):
    storage = f"sqlite:///{project.folder}/results/tuning/study.db"
    (summary,) = optuna.get_all_study_summaries(storage)
    return optuna.load_study(study_name=summary.study_name, storage=storage).trials


def trainings(driver):
    """Return the processes that train, and their workers."""
    found = []
    with contextlib.suppress(psutil.Error):
        for worker in psutil.Process(driver.pid).children():
            found += [
                (training, worker) for training in worker.children() if "spawn_main" in " ".join(training.cmdline())
            ]
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


def test_a_search_whose_workers_trainings_and_driver_are_killed_meets_its_budget(project):
    killed = []
    driver = project.start("tune", "--workers", "2")
    for victim in (1, 0):
        for process in wait_for_training(driver)[:1]:
            process[victim].kill()
            killed.append(victim)
            process[victim].wait(60)
    wait_for_training(driver)
    before = trainings(driver)
    driver.send_signal(signal.SIGKILL)
    driver.communicate(timeout=120)
    psutil.wait_procs([one for pair in before for one in pair], timeout=60)
    assert not [one for pair in before for one in pair if one.is_running()], "a worker outlives its driver"
    driver = project.start("tune", "--workers", "2")
    wait_for_training(driver)
    driver.send_signal(signal.SIGTERM)
    _, said = driver.communicate(timeout=300)
    assert b"Traceback" not in said, said.decode()
    done = project.run("xtcav", "tune", "--workers", "2")
    assert "Traceback" not in done.stderr
    assert killed == [1, 0]
    trials = trials_of(project)
    assert len(trials) == 5
    assert Counter(trial.state.name for trial in trials) == {"COMPLETE": 1, "PRUNED": 4}
    assert {trial.last_step for trial in trials} <= {1, 3}
    runs = project.runs("tags.stage = 'trial'")
    assert sorted(run.data.tags["run.key"] for run in runs) == sorted(trial.user_attrs["run_key"] for trial in trials)
    for run in runs:
        steps = [row.step for row in project.client().get_metric_history(run.info.run_id, "val_accuracy")]
        assert steps == [*range(1, len(steps) + 1)]
    assert not list((project.folder / "results/tuning").rglob("*.ckpt"))


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
