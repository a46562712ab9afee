"""Processes on this machine or a cluster, each of which runs one task at a time, by Dask.

Its scheduler gives the task of a lost worker to another one. What a task says meanwhile comes back as Dask's events, its result
as a future. A scheduler and workers that start here are encrypted and take only who has their certificate, made for this call:
they run whatever they are sent, and listen where other users are.
"""

import contextlib
import functools
import gc
import logging
import math
import os
import queue
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dask
from distributed import (
    Client,
    Future,
    KilledWorker,
    Nanny,
    Reschedule,
    Scheduler,
    Security,
    SpecCluster,
    Worker,
    get_worker,
)
from distributed.core import Status

from xtcav_ml.system import interrupts, variables
from xtcav_ml.system.child_process import POLL_SECONDS, Killed, without_interrupts
from xtcav_ml.system.errors import UserError, reason
from xtcav_ml.system.progress import console

LOCAL, SLURM = "local", "slurm"
CONNECT_SECONDS = 20.0  # for which a scheduler may not answer
SILENT = logging.CRITICAL + 1
OTHER_GB = 3  # memory of a job beside that of a training step: Python, TensorFlow, the worker

SETTINGS = {
    "distributed.worker.daemon": False,  # of those that start here: a task may have a child process
    "distributed.comm.timeouts.connect": f"{CONNECT_SECONDS:g}s",
}
HERE = {"distributed.deploy.lost-worker-timeout": "1000 days"}
"""A worker of this machine is started again, however long that takes: Dask would give it up and start no other."""

ENDING = ("cancelled", "released", "forgotten")
"""States, on its worker, of a task that nobody waits for any more."""

BEGUN = "-begun"
"""End of the topic on which workers say where they are."""

GOING = (Status.closing, Status.closed, Status.failed)
"""States of a worker that has lost its scheduler or was told to end: what its task returns reaches nobody."""

Tell = Callable[[Any], bool]
"""Sends a message to who has submitted the task, and returns whether to continue."""


@dataclass(frozen=True)
class Arrived:
    """What came from the task of this name: a message, that its worker is lost (a name), its result or its error."""

    name: int
    kind: Literal["message", "lost", "result", "error"]
    content: Any


def idle() -> None:
    """Do nothing."""


class Workers:
    """Runs `count` tasks at a time on the workers of a Dask scheduler; `where` says in words where these are.

    `look`, called again and again, looks after what holds the workers.
    """

    def __init__(self, client: Client, count: int, where: str, look: Callable[[], None] = idle) -> None:
        self.count, self.where, self._look = count, where, look
        self._client, self._topic = client, f"xtcav-{uuid.uuid4().hex}"
        self._arrived = queue.SimpleQueue[tuple[str, Arrived]]()  # with the key of the task
        self._futures: dict[int, Future] = {}
        self._keys: dict[int, str] = {}  # of the last task of this name
        self.places = dict[int, str]()
        """Where the task of this name runs, as `_place` says it; of those that have begun."""
        client.subscribe_topic(self._topic, self._on_message)
        client.subscribe_topic(self._topic + BEGUN, self._on_begun)
        client.subscribe_topic("all", self._on_event)

    def submit(self, name: int, function: Callable[..., Any], *arguments: Any) -> None:
        """Run `function(tell, *arguments)` on a worker, by a name that no other task has at the time."""
        key = self._keys[name] = f"{self._topic}-{name}-{uuid.uuid4().hex}"
        future = self._client.submit(_run, self._topic, name, key, function, *arguments, key=key, pure=False)
        self._futures[name] = future
        self.places.pop(name, None)
        future.add_done_callback(functools.partial(self._on_end, name))

    def arrive(self) -> Arrived | None:
        """Return what comes next from any task; None if nothing comes soon, or only from an earlier task of the same name.

        Raises KeyboardInterrupt on a request to stop, and UserError if no worker will ever come.
        """
        interrupts.require_none()
        self._look()
        with contextlib.suppress(queue.Empty):
            key, arrived = self._arrived.get(timeout=POLL_SECONDS)
            return arrived if key == self._keys.get(arrived.name) else None
        return None

    def withdraw(self) -> None:
        """Let all tasks end: those that have not begun at once, the others with their next message."""
        futures, self._futures, self._keys = list(self._futures.values()), {}, {}
        if futures:
            self._client.cancel(futures)
        self._arrived = queue.SimpleQueue[tuple[str, Arrived]]()

    def _on_message(self, event: tuple[float, Any]) -> None:
        name, key, message = event[1]
        self._arrived.put((key, Arrived(name, "message", message)))

    def _on_begun(self, event: tuple[float, Any]) -> None:
        name, place = event[1]
        self.places[name] = place

    def _on_event(self, event: tuple[float, Any]) -> None:
        what = event[1] if isinstance(event[1], dict) else {}
        if what.get("action") == "remove-worker":
            lost = {name for name, future in self._futures.items() if future.key in what["processing-tasks"]}
            for name in lost:
                place = self.places.pop(name, str(what["worker"]))
                self._arrived.put((self._futures[name].key, Arrived(name, "lost", place)))

    def _on_end(self, name: int, future: Future) -> None:
        if future not in self._futures.values():  # withdrawn
            return
        if future.status == "finished":
            self._arrived.put((future.key, Arrived(name, "result", future.result())))
            return
        error = future.exception() if future.status == "error" else self._gone(future.status)
        if isinstance(error, KilledWorker):
            error = Killed(
                f"{self.where}: several workers were lost, one after the other (found {error.task}, expected 0)"
            )
        self._arrived.put((future.key, Arrived(name, "error", error)))

    def _gone(self, status: str) -> UserError:
        return UserError(
            f"{self.where}: the scheduler does not know its tasks any more (found {status!r}, expected an answer). Fix: start "
            "it, then run the command again"
        )


def _run(topic: str, name: int, key: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a task on its worker, after what is needed to compute as here."""
    worker = get_worker()
    variables.pin()
    worker.log_event(topic + BEGUN, [name, _place(worker)])

    def tell(message: Any) -> bool:
        worker.log_event(topic, [name, key, message])
        task = worker.state.tasks.get(key)
        return task is not None and task.state not in ENDING and worker.status not in GOING

    try:
        return function(tell, *arguments)
    finally:
        if worker.status in GOING:  # however the task has ended: it was told to
            raise Reschedule


def _place(worker: Worker) -> str:
    """Return the number of a worker of this machine, counted from 1, or the node of another one."""
    return (
        str(worker.name + 1) if isinstance(worker.name, int) else os.environ.get("SLURMD_NODENAME", os.uname().nodename)
    )


@contextlib.contextmanager
def opened(cluster: str, count: int | None, threads: int, memory_gb: float, folder: Path) -> Iterator[Workers]:
    """Yield `count` workers, to be ended afterwards: of this machine (LOCAL), of jobs that Slurm starts (SLURM), or those
    of the scheduler with this address, all of them by default, which go on.

    A worker takes `threads` processors and `memory_gb`. `folder`, which all machines share, is made anew for certificates.
    Raises UserError if there is no such scheduler, or Slurm takes no such job.
    """
    logging.getLogger("distributed").setLevel(SILENT)  # what happens to a worker is told in our own lines
    with contextlib.ExitStack() as stack, dask.config.set(SETTINGS | (HERE if cluster == LOCAL else {})):
        with (
            interrupts.held(),
            without_interrupts(),
        ):  # Dask's threads, and all that they start, leave Ctrl-C to this one
            look = idle
            if cluster == LOCAL:
                started = stack.enter_context(_local(count or 1))
                where = "this machine"
            elif cluster == SLURM:
                started, look = stack.enter_context(_slurm(count or 1, threads, memory_gb, folder))
                where = "jobs of Slurm"
            else:
                started, where = cluster, f"the scheduler {cluster}"
            client = stack.enter_context(_client(started))
        yield Workers(client, count or max(sum(client.nthreads().values()), 1), where, look)


def _client(cluster: SpecCluster | str) -> Client:
    try:
        return Client(cluster, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        found = reason(error)
    gc.collect()  # of the client: if a thread of Dask's came to that, it would wait for itself
    raise UserError(
        f"--cluster: no scheduler of Dask (found {found!r}, expected slurm, or an address such as tcp://host:8786 where one "
        f"answers). Fix: start it (`dask scheduler`), or correct the address {cluster}"
    )


def _local(count: int) -> SpecCluster:
    secure = {"security": Security.temporary(), "protocol": "tls://", "host": "127.0.0.1"}
    scheduler = {"cls": Scheduler, "options": {**secure, "port": 0, "dashboard": False}}
    common = {**secure, "nthreads": 1, "memory_limit": 0, "dashboard": False, "silence_logs": SILENT}
    workers = {number: {"cls": Nanny, "options": {**common, "env": gpu_of(number)}} for number in range(count)}
    return SpecCluster(scheduler=scheduler, workers=workers, security=secure["security"], silence_logs=SILENT)


def gpu_of(number: int) -> dict[str, str]:
    """Return the variable that gives a worker, by its number, a GPU of its own; empty where there is none."""
    gpus = variables.visible_gpus()
    return {variables.VISIBLE_GPUS: gpus[number % len(gpus)]} if gpus else {}


def threads_each(threads: int, count: int) -> int:
    """Return how many of the `threads` of a training each of `count` workers of this machine has."""
    return min(threads, max(len(os.sched_getaffinity(0)) // count, 1))


@contextlib.contextmanager
def _slurm(
    count: int, threads: int, memory_gb: float, folder: Path
) -> Iterator[tuple[SpecCluster, Callable[[], None]]]:
    """Yield workers in jobs as jobqueue.yaml describes them, and what looks after these: for one that ends, another comes."""
    from dask_jobqueue import SLURMCluster

    from xtcav_ml.system.slurm_jobs import Job, Watch

    if shutil.which("sbatch") is None:
        raise UserError(
            "--cluster: no Slurm here (found no sbatch on the PATH, expected one). Fix: run it on a machine that submits jobs"
        )
    shutil.rmtree(folder, ignore_errors=True)  # of a call that was killed
    folder.mkdir(parents=True)
    wanted = {
        "memory": f"{math.ceil(memory_gb) + OTHER_GB}GB",
        "job-cpu": threads,
        "log-directory": str(folder.with_name("jobs")),
    }
    chosen = {name: dask.config.get(f"jobqueue.slurm.{name}", None) or value for name, value in wanted.items()}
    with SLURMCluster(
        job_cls=Job,
        cores=1,  # a worker takes one task at a time
        processes=1,
        memory=chosen["memory"],
        job_cpu=chosen["job-cpu"],
        log_directory=chosen["log-directory"],
        nanny=False,  # the job is started again, not the process in it
        security=Security.temporary(),
        shared_temp_directory=str(folder),
        silence_logs=SILENT,
        scheduler_options={
            "dashboard": False,
            "dashboard_address": ":0",
            **dask.config.get("jobqueue.slurm.scheduler-options", {}),
        },
    ) as cluster:
        _require_accepted(cluster.job_script())
        cluster.adapt(minimum=count, maximum=count)
        yield cluster, Watch(cluster, str(chosen["log-directory"]), console().print).look


def _require_accepted(script: str) -> None:
    """Raise UserError if Slurm would not take a job."""
    asked = subprocess.run(["sbatch", "--test-only"], input=script, capture_output=True, text=True, check=False)
    if asked.returncode:
        found = " ".join(asked.stderr.split()) or f"exit code {asked.returncode}"
        raise UserError(
            f"--cluster: Slurm takes no such job (found {found!r}, expected one that may run). Fix: correct jobqueue.slurm in "
            "~/.config/dask/jobqueue.yaml (docs/cluster.md)"
        )
