"""A process that works for another one ends with it, by SIGKILL too: nothing then works on beside the next call."""

import contextlib
import ctypes
import functools
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from xtcav_ml.system.dvc_processes import is_dvc, project_of, read_list

DEATH_SIGNAL = 1  # Linux' option of prctl: the signal that a process gets when its parent ends
LOOK_SECONDS = 0.2  # between looks where the kernel does not tell when a process ends


def end_with_dvc() -> None:
    """Call in a command: as a stage it ends as soon as the `dvc` that runs it is gone, as if killed with it.

    Otherwise the next `dvc repro` would run the same stage beside it. The kernel sees to it where `dvc` is the parent; where
    a shell is between them a thread does, after the call into a library that this process may be in.
    """
    if "DVC_STAGE" not in os.environ:
        return
    try:
        above = _dvc_above()
        if above == os.getppid():
            follow_parent(above)
        dvc = os.pidfd_open(above) if hasattr(os, "pidfd_open") else None
    except ProcessLookupError:
        os._exit(1)
    except OSError:  # an older kernel, or a container that forbids it
        dvc = None

    def follow() -> None:
        if dvc is not None:
            select.select([dvc], [], [])
        while dvc is None and _is_alive(above):
            time.sleep(LOOK_SECONDS)
        with contextlib.suppress(OSError):
            os.write(2, b"xtcav: ends here, as its dvc did; the next `dvc repro` resumes\n")
        os._exit(1)

    threading.Thread(target=follow, name="dvc", daemon=True).start()


def _is_alive(process: int) -> bool:
    try:
        return bool(
            Path(f"/proc/{process}/cmdline").read_bytes()
        )  # empty once it has ended and its parent has not looked
    except OSError:
        return False


def _dvc_above() -> int:
    """Return the number of the `dvc` that runs this stage. Raises ProcessLookupError if it has ended.

    It is the process above this one that DVC's list names as a writer, else the nearest one called `dvc`: of a stage without
    outputs DVC lists nothing. If there is neither, and the list has others, that one was killed, and any process may have
    adopted this one; without a list the parent may be a program that runs stages by DVC's functions.
    """
    above, writers = list(_processes_above()), _dvc_writing()
    for process, _ in above:
        if process in writers:
            return process
    for process, named_dvc in above:
        if named_dvc:
            return process
    if writers or os.getppid() == 1:
        raise ProcessLookupError
    return os.getppid()


def _processes_above() -> Iterator[tuple[int, bool]]:
    """Yield the number of each process above this one, and whether it is a `dvc`."""
    with contextlib.suppress(OSError):  # one has ended meanwhile
        above = os.getppid()
        while above > 0:
            yield above, is_dvc(above)
            above = int(Path(f"/proc/{above}/stat").read_text().rpartition(")")[2].split()[1])


def _dvc_writing() -> set[int]:
    """Return the numbers of the processes that DVC's list names as writers here, also of those that have ended since."""
    try:  # not DVC_ROOT: of an experiment in a copy that is the folder copied from
        return {int(writer["pid"]) for writer in read_list(project_of(Path.cwd()))["write"].values()}
    except (OSError, ValueError, LookupError, AttributeError, TypeError, RecursionError):  # none, or DVC is writing it
        return set()


def follow_parent(parent: int, ending: int = signal.SIGKILL) -> None:
    """Let the kernel send signal `ending` to this process when its parent, by its number, ends; end now if it has ended."""
    ctypes.CDLL(None).prctl(DEATH_SIGNAL, ending)
    if os.getppid() != parent:
        os._exit(1)


def killed_with_parent(ending: int = signal.SIGKILL) -> Callable[[], None]:
    """Return what a new process calls before its program begins (`preexec_fn`), to get signal `ending` when this one ends."""
    return functools.partial(follow_parent, os.getpid(), ending)
