"""One process at a time writes an output; the next one waits for it.

The lock is an advisory one of the kernel's, on a hidden file beside the output: whatever ends its holder releases it. Child
processes do not inherit it.
"""

import contextlib
import datetime
import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from xtcav_ml.system.errors import shown, warn

ABSENT = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)
"""Errors of a file system, as some across a network, that has no such locks."""


@contextlib.contextmanager
def writing(output: Path | None) -> Iterator[None]:
    """Hold the lock of a file or folder that this process will write, if any; print for whom it waits, if it has to.

    Where nothing can be written, or where the file system has no locks, there is none.
    """
    with contextlib.ExitStack() as stack:
        if output is not None and (file := _lock_of(output)) is not None:
            stack.enter_context(file)
            stack.callback(_remove, Path(file.name))  # before it is released
        yield


def locked(file: IO[bytes], *, wait: bool = True, without: bool = True) -> bool:
    """Lock an open file for this process, until that closes it or ends; return False if another has it.

    `without`, after a warning, where the file system has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in ABSENT:
            raise
        warn(
            f"{file.name}: not locked (found {error.strerror!r}, expected a file system with locks). Fix: run one command at "
            "a time in this project"
        )
        return without
    return True


def _remove(lock: Path) -> None:
    with contextlib.suppress(OSError):  # of another user, in a folder where each removes only one's own
        lock.unlink()


def _lock_of(output: Path) -> IO[bytes] | None:
    """Return the lock of a path, held, with the name of this process in it; None where no file can be made."""
    lock = output.parent / f".{output.name}.lock"
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = lock.open("a+b", buffering=0)
        except OSError:
            try:
                file = lock.open("rb", buffering=0)  # of another user: that is enough to wait
            except OSError:  # what is then written tells why
                return None
        if not locked(file, wait=False):
            file.seek(0)
            holder = file.read().decode(errors="replace").strip() or "another process"
            waits = shown(f"{output}: waits for {holder}, which writes it; Ctrl-C ends the wait")
            print(waits, file=sys.stderr, flush=True)
            locked(file)
        if os.fstat(file.fileno()).st_nlink:
            break
        file.close()  # its holder has removed it, and another may have made the next one
    with contextlib.suppress(OSError):  # a full disk
        file.truncate(0)
        now = datetime.datetime.now().astimezone()
        file.write(f"process {os.getpid()} of {os.uname().nodename} since {now:%Y-%m-%d %H:%M}".encode())
    return file
