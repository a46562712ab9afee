"""A process that works for another one ends with it, by SIGKILL too: nothing then works on beside the next call."""

import contextlib
import ctypes
import functools
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

DEATH_SIGNAL = 1  # Linux' option of prctl: the signal that a process gets when its parent ends
LOOK_SECONDS = 1.0  # between looks where the kernel does not tell when a process ends
ADOPTING = ("systemd", "init")  # programs that, with process 1, adopt those whose parent has ended


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


def is_dvc(process: int) -> bool:
    """Return whether a process, by its number, is a `dvc`. Raises OSError if it has ended."""
    words = Path(f"/proc/{process}/cmdline").read_text(errors="replace").split("\0")[:4]  # with Python and its options
    return any(Path(word).name == "dvc" for word in words)


def _is_alive(process: int) -> bool:
    try:
        return bool(
            Path(f"/proc/{process}/cmdline").read_bytes()
        )  # empty once it has ended and its parent has not looked
    except OSError:
        return False


def _dvc_above() -> int:
    """Return the number of the nearest `dvc` above this process, else of its parent. Raises ProcessLookupError if it ended."""
    above = parent = os.getppid()
    while above > 0:
        try:
            found = is_dvc(above)
            status = Path(f"/proc/{above}/stat").read_text()
        except OSError:  # it ended meanwhile
            break
        if found:
            return above
        name = status[status.index("(") + 1 : status.rindex(")")]
        if above == parent and (above == 1 or name in ADOPTING):
            raise ProcessLookupError
        above = int(status.rpartition(")")[2].split()[1])
    return parent


def follow_parent(parent: int, ending: int = signal.SIGKILL) -> None:
    """Let the kernel send signal `ending` to this process when its parent, by its number, ends; end now if it has ended."""
    ctypes.CDLL(None).prctl(DEATH_SIGNAL, ending)
    if os.getppid() != parent:
        os._exit(1)


def killed_with_parent(ending: int = signal.SIGKILL) -> Callable[[], None]:
    """Return what a new process calls before its program begins (`preexec_fn`), to get signal `ending` when this one ends."""
    return functools.partial(follow_parent, os.getpid(), ending)
