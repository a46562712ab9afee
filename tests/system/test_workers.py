"""Tasks on real workers of Dask: processes of this machine."""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from distributed import Client

from xtcav_ml.system import variables, workers
from xtcav_ml.system.child_process import ChildProcess, Killed
from xtcav_ml.system.errors import UserError

SECONDS = 120.0  # for which a loaded machine may take


def meet(tell, own: Path, other: Path):
    """End once the other task has begun, so that both run at the same time."""
    own.touch()
    told = [tell([number]) for number in range(3)]
    while not other.exists():
        time.sleep(0.02)
    return os.getpid(), all(told)


def die_once(tell, file: Path):
    """Be a task whose worker is killed by the test, once it has told its number; the next one ends."""
    if not file.exists():
        file.touch()
        tell(os.getpid())
        time.sleep(10 * SECONDS)
    return "ended"


def exit_always(tell):
    os._exit(3)


def fail(tell, error):
    raise error


def go_on(tell, file: Path):
    """Go on until nobody waits for the result."""
    while tell("still"):
        time.sleep(0.02)
    file.touch()


def end_with_worker(tell, file: Path):
    """Be a task of a worker that is told to end, and end as soon as it is said that nobody waits for the result any more."""
    again = file.exists()
    file.touch()
    while not again and tell(os.getpid()):
        time.sleep(0.02)
    return again


def double(send, value):
    send(value)
    return 2 * value


def in_child(tell, value):
    child = ChildProcess(double, value, subject="a child", cure="none")
    return list(child), child.result


def variable(tell, name):
    return os.environ.get(name)


def arrivals(crew):
    """Yield what arrives."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if (arrived := crew.arrive()) is not None:
            yield arrived
    raise TimeoutError


def end_of(crew, name):
    """Return what ends a task."""
    return next(one for one in arrivals(crew) if one.name == name and one.kind in ("result", "error"))


@pytest.fixture(scope="module")
def crew(tmp_path_factory):
    with workers.opened("local", 2, 1, 1.0, tmp_path_factory.mktemp("certificates")) as opened:
        yield opened


def test_two_tasks_run_at_once_in_two_processes_and_their_messages_keep_their_order(crew, tmp_path):
    crew.submit(1, meet, tmp_path / "a", tmp_path / "b")
    crew.submit(2, meet, tmp_path / "b", tmp_path / "a")
    results, told = {}, {1: [], 2: []}
    for arrived in arrivals(crew):
        if arrived.kind == "message":
            told[arrived.name] += arrived.content
        else:
            results[arrived.name] = arrived.content
        if len(results) == 2:
            break
    assert {pid for pid, _ in results.values()}.isdisjoint({os.getpid()})
    assert len({pid for pid, _ in results.values()}) == 2
    assert all(continued for _, continued in results.values())
    assert told == {1: [0, 1, 2], 2: [0, 1, 2]}
    assert sorted(crew.places[name] for name in (1, 2)) == ["1", "2"]


def test_the_task_of_a_killed_worker_is_run_by_another(crew, tmp_path):
    crew.submit(1, die_once, tmp_path / "begun")
    kinds = []
    for arrived in arrivals(crew):
        kinds.append(arrived.kind)
        if arrived.kind == "message":
            os.kill(arrived.content, signal.SIGKILL)
        if arrived.kind == "result":
            break
    assert arrived.content == "ended"
    assert kinds == ["message", "lost", "result"]


def test_the_task_of_a_worker_that_is_told_to_end_does_so_and_is_run_by_another(crew, tmp_path):
    crew.submit(1, end_with_worker, tmp_path / "begun")
    pid = next(one for one in arrivals(crew) if one.kind == "message").content
    os.kill(pid, signal.SIGTERM)
    assert end_of(crew, 1).content is True


def test_a_task_that_ends_every_worker_is_ended_as_killed(crew):
    crew.submit(1, exit_always)
    ended = end_of(crew, 1)
    assert isinstance(ended.content, Killed)


@pytest.mark.parametrize("error", [UserError("a.h5: missing"), Killed("trial 1: killed"), ZeroDivisionError("x")])
def test_an_error_comes_back_as_it_is(crew, error):
    crew.submit(1, fail, error)
    ended = end_of(crew, 1)
    assert (ended.kind, type(ended.content), str(ended.content)) == ("error", type(error), str(error))


def test_a_task_that_is_withdrawn_ends_and_says_nothing_more(crew, tmp_path):
    crew.submit(1, go_on, tmp_path / "ended")
    assert next(one for one in arrivals(crew) if one.kind == "message").content == "still"
    crew.withdraw()
    end = time.monotonic() + SECONDS
    while not (tmp_path / "ended").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    crew.submit(1, in_child, 21)
    assert end_of(crew, 1).content == ([21], 42)


def test_a_task_computes_with_the_variables_that_are_pinned_here(crew):
    crew.submit(1, variable, "OPENBLAS_NUM_THREADS")
    assert end_of(crew, 1).content == variables.SET["OPENBLAS_NUM_THREADS"]


def test_who_has_not_the_certificate_is_refused(crew):
    address = crew._client.scheduler.address
    assert address.startswith("tls://127.0.0.1:")
    with pytest.raises((OSError, TypeError)):
        Client(address.replace("tls", "tcp"), timeout=5, set_as_default=False)


def test_workers_of_a_scheduler_with_an_address_are_used_and_go_on(tmp_path):
    address = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    options = ["--scheduler-file", str(address), "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    scheduler = subprocess.Popen([*dask, *options], stderr=subprocess.DEVNULL)
    options = ["--scheduler-file", str(address), "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    worker = subprocess.Popen([*dask[:2], "distributed.cli.dask_worker", *options], stderr=subprocess.DEVNULL)
    try:
        with Client(scheduler_file=str(address), timeout=SECONDS, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=SECONDS)
            found = client.scheduler.address
        for _ in range(2):
            with workers.opened(found, None, 1, 1.0, tmp_path) as crew:
                assert crew.count == 1
                crew.submit(1, in_child, 4)
                assert end_of(crew, 1).content == ([4], 8)
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()


def clients():
    """Return all clients that there are; `isinstance` would follow weak references, also to what is gone."""
    return [one for one in gc.get_objects() if issubclass(type(one), Client)]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "tcp://nowhere.invalid:8786"])
def test_an_address_where_nobody_answers_is_one_line(address, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "CONNECT_SECONDS", 1.0)
    gc.collect()
    before = len(clients())
    with (
        pytest.raises(UserError, match=r"--cluster: no scheduler of Dask.*expected slurm.*Fix:"),
        workers.opened(address, None, 1, 1.0, tmp_path),
    ):
        pass
    assert len(clients()) == before  # or a thread of Dask's may close it, and wait for itself


def test_a_machine_without_slurm_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="found no sbatch"), workers.opened("slurm", 1, 1, 1.0, tmp_path):
        pass


def test_a_job_that_slurm_refuses_is_told_as_slurm_says_it(tmp_path, monkeypatch):
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\ncat > script\necho 'sbatch: error: invalid partition specified: night' >&2\nexit 1\n")
    sbatch.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with (
        pytest.raises(UserError, match="invalid partition specified: night"),
        workers.opened("slurm", 1, 3, 4.0, tmp_path / "certificates"),
    ):
        pass
    script = (tmp_path / "script").read_text()
    assert "--cpus-per-task=3" in script
    assert "--mem=7" in script
    assert "--nthreads 1" in script
    assert "--no-nanny" in script


def test_threads_are_divided_and_each_worker_has_a_gpu(monkeypatch):
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda _: set(range(8)))
    assert [workers.threads_each(4, count) for count in (1, 2, 3, 8, 20)] == [4, 4, 2, 1, 1]
    monkeypatch.setattr(variables, "visible_gpus", lambda: ["2", "5"])
    assert [workers.gpu_of(number)["CUDA_VISIBLE_DEVICES"] for number in range(3)] == ["2", "5", "2"]
    monkeypatch.setattr(variables, "visible_gpus", list)
    assert workers.gpu_of(0) == {}
