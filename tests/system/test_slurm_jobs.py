"""What is said of jobs that have no worker, and which of them are replaced; Slurm and its cluster are played."""

import asyncio
import os
from types import SimpleNamespace

import pytest

from xtcav_ml.system import slurm_jobs
from xtcav_ml.system.errors import UserError


class Played:
    """A cluster with jobs of these ids, of which those that connect have a worker."""

    def __init__(self, *ids, refused=""):
        self.workers = {f"job-{number}": Known(job, refused) for number, job in enumerate(ids)}
        self.scheduler = SimpleNamespace(workers={})

    def connect(self, *names):
        self.scheduler.workers = {f"tls://{name}": SimpleNamespace(name=name) for name in names}

    def sync(self, function, *arguments):
        asyncio.run(function(*arguments))


class Known(SimpleNamespace):
    def __init__(self, job_id, refused):
        super().__init__(job_id=job_id, refused=refused, closed=False)

    async def close(self):
        self.closed = True


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(slurm_jobs.time, "monotonic", lambda: now.seconds)
    return now


@pytest.fixture
def answer(monkeypatch):
    """What squeue answers, to be changed."""
    states = {}
    monkeypatch.setattr(slurm_jobs, "queued", lambda: states)
    return states


def watched(cluster, said):
    return slurm_jobs.Watch(cluster, "results/tuning/jobs", said.append)


def test_it_is_said_after_a_while_and_then_each_minute_until_a_worker_is_there(clock, answer):
    cluster, said = Played("12", "13"), []
    watch = watched(cluster, said)
    answer |= {"12": "pending: Priority", "13": "pending: Resources"}
    counts = []
    for seconds in range(0, 200, 5):
        clock.seconds = 1000.0 + seconds
        watch.look()
        counts.append((seconds, len(said)))
    assert dict(counts)[15] == 0
    assert dict(counts)[20] == 1
    assert dict(counts)[75] == 1
    assert dict(counts)[80] == 2
    assert "found 1 pending: Priority, 1 pending: Resources, expected 2 running" in said[0]
    assert "squeue -j 12,13" in said[0]
    assert "Fix: wait" in said[0]
    cluster.connect("job-0", "job-1")
    before = len(said)
    for seconds in range(200, 400, 5):
        clock.seconds = 1000.0 + seconds
        watch.look()
    assert len(said) == before


@pytest.mark.parametrize(
    ("states", "cure"),
    [
        (["running"], "have begun"),
        (["pending: QOSMaxCpuPerUserLimit"], "fewer --workers"),
        (["pending: AssocGrpCPUMinutesLimit", "pending: Priority"], "fewer --workers"),
        (["pending: InvalidAccount"], "queue, account"),
        (["pending: PartitionDown", "pending: AssocMaxJobsLimit"], "queue, account"),
        (["pending: BeginTime"], "wait until"),
    ],
)
def test_each_reason_has_its_cure(states, cure):
    assert cure in slurm_jobs.cure_of(states)


def test_a_job_that_has_ended_without_a_worker_is_replaced_beside_others_that_work(clock, answer):
    cluster, said = Played("12", "13", "14"), []
    watch = watched(cluster, said)
    gone = cluster.workers["job-1"]
    cluster.connect("job-0")
    answer |= {"12": "running", "14": "pending: Priority"}
    clock.seconds += 30
    watch.look()
    assert [*cluster.workers] == ["job-0", "job-2"]
    assert gone.closed
    assert not said


def test_jobs_that_always_end_without_a_worker_end_the_search_and_say_where_they_wrote(clock, answer):
    said, rounds = [], 0
    watch = watched(cluster := Played("12"), said)
    with pytest.raises(UserError, match=r"jobs end before they have a worker .*results/tuning/jobs"):
        for number in range(13, 30):
            clock.seconds += 61
            watch.look()
            cluster.workers["job-0"] = Known(str(number), "")
            rounds += 1
    assert rounds == slurm_jobs.ROUNDS
    assert "1 ended without a worker" in said[0]


def test_a_refused_job_is_submitted_again_for_as_long_as_it_takes(clock, answer):
    cluster, said = Played(None, refused="sbatch: error: QOSMaxSubmitJobPerUserLimit"), []
    watch = watched(cluster, said)
    for _ in range(9):
        clock.seconds += 61
        watch.look()
        assert not cluster.workers
        cluster.workers["job-0"] = Known(None, "sbatch: error: QOSMaxSubmitJobPerUserLimit")
    assert "found 1 refused, expected 1 running" in said[0]
    assert "correct what Slurm refuses: sbatch: error: QOSMaxSubmitJobPerUserLimit" in said[0]


def test_a_slurm_that_does_not_answer_changes_nothing(clock, monkeypatch):
    monkeypatch.setattr(slurm_jobs, "queued", lambda: "Unable to contact slurm controller")
    cluster, said = Played("12"), []
    watch = watched(cluster, said)
    clock.seconds += 61
    watch.look()
    assert [*cluster.workers] == ["job-0"]
    assert "Unable to contact slurm controller" in said[0]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("printf '12 PENDING Priority\\n13 RUNNING None\\n'", {"12": "pending: Priority", "13": "running"}),
        (
            "printf '12 PENDING (Nodes required for job are DOWN)\\n'",
            {"12": "pending: (Nodes required for job are DOWN)"},
        ),
        ("exit 0", {}),
        ("echo slurm_load_jobs error: no controller >&2; exit 1", "slurm_load_jobs error: no controller"),
    ],
)
def test_what_squeue_says_is_read(script, expected, tmp_path, monkeypatch):
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\n{script}\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert slurm_jobs.queued() == expected


def test_what_slurm_says_when_it_refuses_a_job_is_kept(monkeypatch):
    async def refuse(*_):
        raise RuntimeError("Command exited with non-zero exit code.\nstdout:\n\nstderr:\nsbatch: error: too many\n\n")

    monkeypatch.setattr(slurm_jobs.Job, "_call", refuse)
    job = slurm_jobs.Job("tcp://127.0.0.1:1", name="one", cores=1, memory="1GB")

    async def run():
        await job
        await job.close()

    asyncio.run(run())
    assert job.refused == "sbatch: error: too many"
    assert job.job_id is None
