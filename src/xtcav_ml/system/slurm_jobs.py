"""Jobs of Slurm that are to hold workers: why none does, and others for those that have ended before they did."""

import contextlib
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Collection

from dask_jobqueue import SLURMCluster
from dask_jobqueue.slurm import SLURMJob
from distributed.deploy.spec import ProcessInterface

from xtcav_ml.system.errors import UserError, reason

FIRST_SECONDS, EVERY_SECONDS = 20.0, 60.0
ROUNDS = 3
"""Times that all jobs may have ended without a worker, one after the other: what is wrong with one is wrong with all."""

BUSY = ("Resources", "Priority", "None", "BeginTime", "Dependency", "Licenses")
"""Reasons of squeue that time alone cures."""


class Job(SLURMJob):  # type: ignore[misc]  # of a library without types
    """A job; that Slurm refuses one is no error, as a limit may allow it later."""

    refused = ""

    async def start(self) -> None:
        """Submit it."""
        try:
            await super().start()
        except RuntimeError as error:
            self.refused = " ".join(str(error).partition("stderr:\n")[2].split()) or reason(error)
            await ProcessInterface.start(self)


class Watch:
    """Looks after the jobs of a cluster; `log` is where they write, `say` prints a line."""

    def __init__(self, cluster: SLURMCluster, log: str, say: Callable[[str], object]) -> None:
        self._cluster, self._log, self._say = cluster, log, say
        self._due, self._rounds = time.monotonic() + FIRST_SECONDS, 0

    def look(self) -> None:
        """To be called often: if workers are missing for some time, replace the jobs that have ended, and say if there is none.

        Raises UserError if jobs end without a worker again and again.
        """
        present = {worker.name for worker in list(self._cluster.scheduler.workers.values())}
        without = {name: job for name, job in list(self._cluster.workers.items()) if name not in present}
        if not without and present:
            self._due, self._rounds = time.monotonic() + FIRST_SECONDS, 0
        elif time.monotonic() >= self._due:
            self._due = time.monotonic() + EVERY_SECONDS
            self._look_at(without, bool(present))

    def _look_at(self, without: dict[str, Job], some_work: bool) -> None:
        states = queued()
        if isinstance(states, str):
            self._say(f"  jobs of Slurm: not known (found {states!r} from squeue, expected a list). The search waits")
            return
        gone = [name for name, job in without.items() if job.job_id not in states]
        if not some_work:
            self._rounds += (
                bool(gone) and len(gone) == len(without) and not any(job.refused for job in without.values())
            )
            if self._rounds > ROUNDS:
                raise UserError(
                    f"--cluster: jobs end before they have a worker (found {len(gone)}, expected 0). Fix: {self._cure()}"
                )
            self._say(f"  {self._said(without, states)}")
        self._cluster.sync(self._forget, gone)

    def _said(self, without: dict[str, Job], states: dict[str, str]) -> str:
        """Return why no job has a worker, and what to do."""
        refused = next((job.refused for job in without.values() if job.refused), "")
        found = Counter(
            states.get(job.job_id, "refused" if job.refused else "ended without a worker") for job in without.values()
        )
        counted = ", ".join(f"{count} {words}" for words, count in sorted(found.items()))
        ids = ",".join(str(job.job_id) for job in without.values() if job.job_id in states)
        cure = cure_of(found) if ids else (f"correct what Slurm refuses: {refused}" if refused else self._cure())
        more = f" (`squeue -j {ids}`)" if ids else ""
        return f"jobs of Slurm: no worker yet (found {counted or 'no job'}, expected {len(without)} running){more}. Fix: {cure}"

    def _cure(self) -> str:
        file = "~/.config/dask/jobqueue.yaml (docs/cluster.md)"
        return f"read what they wrote in {self._log}, and correct jobqueue.slurm in {file}"

    async def _forget(self, names: Collection[str]) -> None:
        """Let the cluster start another job for each of these."""
        for name in names:
            if (job := self._cluster.workers.pop(name, None)) is not None:
                await job.close()


def queued() -> dict[str, str] | str:
    """Return the state of each job of this user's in the queue, by its id, or what is wrong if Slurm does not answer."""
    command = ["squeue", "--noheader", "--user", str(os.getuid()), "--format", "%i %T %r"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=EVERY_SECONDS / 2)
        if asked.returncode:
            return " ".join(asked.stderr.split()) or f"exit code {asked.returncode}"
        rows = (line.split(maxsplit=2) for line in asked.stdout.splitlines())
        return {job: _words(state, why) for job, state, why in rows}
    return "no answer"


def _words(state: str, why: str) -> str:
    return f"pending: {why}" if state == "PENDING" else state.lower()


def cure_of(found: Collection[str]) -> str:
    """Return what a user may do about jobs with these states and reasons, as `queued` gives them."""
    reasons = [words.removeprefix("pending: ") for words in found if words.startswith("pending: ")]
    held = [why for why in reasons if why not in BUSY]
    if not reasons:
        return "wait: they have begun, and their workers are about to answer"
    if not held:
        return "wait until one runs, since other jobs are before them, or ask for less in jobqueue.yaml"
    if all("Limit" in why or "Max" in why for why in held):
        return "ask for fewer --workers, or for less time, memory or processors in jobqueue.yaml, or end other jobs"
    return "correct queue, account or directives in jobqueue.yaml (docs/cluster.md), or ask your site"
