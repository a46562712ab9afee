"""Shards made by workers, each one at a time: processes of this machine, or of a cluster by Dask.

This process alone writes the index files. What a lost worker had begun is made anew by another one: a shard is there whole or
not at all, and its bytes do not depend on who makes it.
"""

import hashlib
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xtcav_ml.lineage import environment, fingerprint
from xtcav_ml.pipeline.frames import MOST_THREADS, Advance, Make, Task, make_shard
from xtcav_ml.system import workers
from xtcav_ml.system.child_process import Killed
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console
from xtcav_ml.system.workers import LOCAL, Tell, Workers

MEMORY_GB = 1.0  # of a worker with one thread, beside that of Python
LIBRARIES = ("numpy", "h5py")
STARTS = 10  # times that a shard is begun while its workers are lost


class Withdrawn(UserError):
    """Nobody waits for a shard any more."""


@dataclass
class _Begun:
    """A shard that a worker has."""

    task: Task
    frames: int = 0  # that were told
    starts: int = 1


def maker(cluster: str | None, count: int | None, folder: Path) -> Make:
    """Return a function that makes shards by `count` workers of `cluster`, by default of this machine.

    None starts where there is no shard to make. `folder`, which all machines share, is for certificates. The function raises
    as `workers.opened` and `make_by_workers`.
    """

    def make(tasks: Sequence[Task], advance: Advance) -> None:
        if not tasks:
            return
        with workers.opened(cluster or LOCAL, count, 1, MEMORY_GB, folder.resolve()) as crew:
            threads = max(len(os.sched_getaffinity(0)) // crew.count, 1) if cluster is None else 1
            console().print(f"  {crew.count} files at a time on {crew.where}")
            make_by_workers(crew, tasks, advance, min(threads, MOST_THREADS))

    return make


def make_by_workers(crew: Workers, tasks: Sequence[Task], advance: Advance, threads: int = 1) -> None:
    """Write all shards. Raises UserError as `make_shard`, or if a worker would make others or many are lost in a row."""
    like, waiting, begun = computes(), deque(enumerate(map(_anywhere, tasks))), dict[int, _Begun]()

    def begin() -> None:
        while waiting and len(begun) < crew.count:
            name, task = waiting.popleft()
            begun[name] = _Begun(task)
            crew.submit(name, run_task, like, task, threads)

    try:
        begin()
        while begun:
            arrived = crew.arrive()
            if arrived is None or arrived.name not in begun:
                continue
            one = begun[arrived.name]
            if arrived.kind == "message" or arrived.kind == "result":
                frames = len(one.task.rows) if arrived.kind == "result" else arrived.content
                advance(max(frames - one.frames, 0))  # another worker repeats those of a lost one
                one.frames = max(frames, one.frames)
            elif arrived.kind == "lost":
                console().print(f"  {one.task.raw.name}: its worker {arrived.content} is lost, another begins anew")
            elif isinstance(arrived.content, Killed) and one.starts < STARTS:
                one.starts += 1
                crew.submit(arrived.name, run_task, like, one.task, threads)
            else:
                raise arrived.content
            if arrived.kind == "result":
                del begun[arrived.name]
                begin()
    finally:
        crew.withdraw()


def run_task(tell: Tell, like: dict[str, str], task: Task, threads: int) -> None:
    """Write a shard on a worker, telling how many frames it has.

    Raises UserError unless this one computes `like` the driver, otherwise as `make_shard`.
    """
    own = computes()
    for name in sorted({*own, *like}):
        if own.get(name) != like.get(name):
            raise UserError(
                f"worker on {os.uname().nodename}: other {name} (found {own.get(name, 'no version')}, expected "
                f"{like.get(name, 'no version')} as where prepare runs). Fix: start it in this project's environment, in a "
                "folder that all machines share"
            )
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if not tell(done):
            raise Withdrawn(f"{task.raw}: not prepared, since nobody waits for it")

    make_shard(task, advance, threads)


def computes() -> dict[str, str]:
    """Return what decides the bytes of a shard beside its task: code and libraries."""
    sources = b"".join(hashlib.sha256(path.read_bytes()).digest() for path in sorted(fingerprint.PACKAGE.rglob("*.py")))
    return {**environment.versions(LIBRARIES), "code": hashlib.sha256(sources).hexdigest()[:16]}


def _anywhere(task: Task) -> Task:
    """Return a task for a process in any folder."""
    folder = task.folder.for_file()
    folder.root = None if folder.root is None else folder.root.absolute()
    return replace(task, raw=task.raw.absolute(), dark=task.dark.absolute(), shard=task.shard.absolute(), folder=folder)
