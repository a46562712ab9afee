"""The search, and prepare, in jobs of a real Slurm that preempts them, as a user runs it."""

import contextlib
import operator
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dask
import optuna
import pytest

from tests.conftest import ROOT, write_shots
from tests.end_to_end import slurm
from tests.end_to_end.conftest import SMALL_SEARCH, Project
from tests.end_to_end.slurm import LOW, PATIENCE, Slurm, needs_slurm
from tests.pipeline.test_kept import digests
from xtcav_ml.system import slurm_jobs, workers
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.workers import Arrived, Workers

pytestmark = needs_slurm
SEARCH = {**SMALL_SEARCH, "tune.sampler": "random", "tune.epochs": 12, "tune.rungs": 0}
EVERY, EPOCHS = 20.0, 9
"""Seconds from one preemption to the next, or more where fewer epochs than these are trained in that time: each preemption
costs the start of a training, and with one epoch each a search would take an hour."""


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Slurm]:
    with slurm.running() as running:
        yield running


def trials_of(project: Project) -> list[optuna.trial.FrozenTrial]:
    storage = f"sqlite:///{project.folder}/results/tuning/study.db"
    (summary,) = optuna.get_all_study_summaries(storage)
    return optuna.load_study(study_name=summary.study_name, storage=storage).trials


def epochs_of(project: Project) -> int:
    """Return how many epochs the study knows."""
    with contextlib.closing(sqlite3.connect(project.folder / "results/tuning/study.db", timeout=60)) as study:
        return int(study.execute("SELECT count(*) FROM trial_intermediate_values").fetchone()[0])


def wait_for_epochs(project: Project, driver: subprocess.Popen[bytes], count: int) -> None:
    """Wait until the study knows so many epochs, or the driver has ended."""
    end = time.monotonic() + PATIENCE
    while driver.poll() is None:
        with contextlib.suppress(sqlite3.OperationalError):  # not there yet
            if epochs_of(project) >= count:
                return
        assert time.monotonic() < end, "no epoch"
        time.sleep(0.2)


def preempt_until_end(two_nodes: Slurm, project: Project, driver: subprocess.Popen[bytes]) -> int:
    """Preempt one worker after the other as long as the driver lives; return how many."""
    preempted = 0
    while driver.poll() is None:
        for node in [*two_nodes.jobs().values()][preempted % 2 :][:1]:
            two_nodes.preempt(node)
            preempted += 1
        known = epochs_of(project)
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.wait(EVERY)
        wait_for_epochs(project, driver, known + EPOCHS)
    return preempted


STARTING = """if True:
    import subprocess, sys
    from tests.end_to_end import slurm

    with slurm.running() as two_nodes:
        two_nodes.run("sbatch", "-o", "/dev/null", script="#!/bin/sh\\nsleep 1000\\n")
        two_nodes.wait_for(two_nodes.jobs)
        print(two_nodes.folder, flush=True)
        sys.stdin.read()
"""


def test_tests_that_are_killed_leave_no_slurm_behind() -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", STARTING], cwd=ROOT, text=True, **pipes) as tests:
        assert tests.stdout is not None
        left = Slurm(Path(tests.stdout.readline().strip()))
        expected = {"munged", "slurmctld", "slurmd", "slurmstepd", "sleep"}
        left.wait_for(lambda: expected <= {process.info["name"] for process in left.processes()})
        tests.kill()
    left.wait_for(lambda: not left.processes() and not left.folder.exists())


@contextlib.contextmanager
def jobs_of(two_nodes: Slurm, folder: Path, **changes: str) -> Iterator[Workers]:
    """Yield one worker in a job of this Slurm, from this process."""
    described = {f"jobqueue.slurm.{name}": value for name, value in {**slurm.JOBS, **changes}.items()}
    with pytest.MonkeyPatch.context() as patch, dask.config.set(described):
        for name, value in two_nodes.variables().items():
            patch.setenv(name, value)
        patch.setattr(slurm_jobs, "FIRST_SECONDS", 1.0)
        patch.setattr(slurm_jobs, "EVERY_SECONDS", 2.0)
        with workers.opened("slurm", 1, 1, 1.0, folder / "certificates") as crew:
            yield crew


def arrivals(crew: Workers) -> Iterator[Arrived | None]:
    """Yield what arrives, None when there is nothing."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        yield crew.arrive()
    raise TimeoutError


def test_while_no_job_runs_the_reason_and_the_cure_are_said_and_a_cancelled_one_is_replaced(
    two_nodes: Slurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ""
    two_nodes.run("scontrol", "update", f"partitionname={LOW}", "state=down")
    with jobs_of(two_nodes, tmp_path) as crew:
        crew.submit(1, operator.is_not, None)
        for _ in arrivals(crew):
            said += capsys.readouterr().out
            if "1 pending: PartitionDown" in said:
                break
        (cancelled,) = two_nodes.jobs("PENDING")
        two_nodes.run("scancel", cancelled)
        for _ in arrivals(crew):
            if {*two_nodes.jobs("PENDING")} - {cancelled}:
                break
        two_nodes.run("scontrol", "update", f"partitionname={LOW}", "state=up")
        assert next(one for one in arrivals(crew) if one is not None).content is True
        assert crew.places == {1: "n1"}
    assert f"squeue -j {cancelled}" in said
    assert "Fix: correct queue" in said


def test_what_slurm_refuses_is_one_line(two_nodes: Slurm, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"invalid partition.*Fix:"), jobs_of(two_nodes, tmp_path, queue="night"):
        pass


def test_prepare_whose_workers_are_preempted_writes_the_bytes_of_one_process(two_nodes: Slurm, tmp_path: Path) -> None:
    project = Project.with_small_frames(tmp_path / "jobs", real=True)
    for number in range(6):
        write_shots(project.folder / f"raw/more{number}.h5", run=80 + number, count=800)
    kept, out = project.folder / "data/.shards", project.folder / "data/prepared"
    driver = project.start("prepare", "--cluster", "slurm", "--workers", "2", **two_nodes.variables())
    before, preempted, end = 1, 0, time.monotonic() + PATIENCE  # the dark frame is there first
    while driver.poll() is None and time.monotonic() < end:
        if preempted < 2 and len([*kept.glob("*.h5")]) > before + preempted:
            for node in [*two_nodes.jobs().values()][preempted % 2 :][:1]:
                two_nodes.preempt(node)
                preempted += 1
        time.sleep(0.05)
    _, said = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, said.decode()
    assert preempted
    found = digests(out)
    shutil.rmtree(kept)
    project.run("xtcav", "prepare")
    assert digests(out) == found


@pytest.mark.parametrize("trials", [6, pytest.param(20, marks=pytest.mark.slow)])
def test_a_search_whose_workers_are_preempted_and_whose_driver_is_killed_loses_nothing(
    two_nodes: Slurm, tmp_path: Path, trials: int
) -> None:
    project = Project.with_small_frames(tmp_path / "jobs", real=True, **SEARCH, **{"tune.trials": trials})
    command = ("tune", "--cluster", "slurm", "--workers", "2")
    driver = project.start(*command, **two_nodes.variables())
    wait_for_epochs(project, driver, 1)
    driver.kill()
    driver.communicate(timeout=PATIENCE)
    driver = project.start(*command, **two_nodes.variables())
    wait_for_epochs(project, driver, epochs_of(project) + 1)
    preempted = preempt_until_end(two_nodes, project, driver)
    _, said = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, said.decode()
    assert b"Traceback" not in said
    assert preempted
    print(f"{preempted} preemptions")
    ended = trials_of(project)
    assert Counter(trial.state.name for trial in ended) == {"COMPLETE": trials}
    runs = project.runs("tags.stage = 'trial'")
    assert sorted(run.data.tags["run.key"] for run in runs) == sorted(trial.user_attrs["run_key"] for trial in ended)
    assert {run.info.status for run in runs} == {"FINISHED"}
    alone = Project.with_small_frames(tmp_path / "alone", **SEARCH, **{"tune.trials": trials})
    alone.run("xtcav", "tune")
    assert [(one.params, one.values, one.intermediate_values) for one in ended] == [
        (one.params, one.values, one.intermediate_values) for one in trials_of(alone)
    ]
