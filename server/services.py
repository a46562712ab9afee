"""Programs that run beside this one and end with it, however it ends."""

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

PR_SET_PDEATHSIG = 1  # of prctl(2)
GRACE = 30.0
"""Seconds that a program gets to end in order."""


@contextlib.contextmanager
def running(
    command: Sequence[str], ending: signal.Signals, environment: Mapping[str, str], output: IO[bytes] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program with exactly `environment`; in the end send it signal `ending`, after which none of it is left.

    Ctrl-C in the terminal does not reach it, so that several can be ended in their order. If this process is killed, the
    kernel sends `ending`. What it prints goes to file `output`, by default to where this process prints.
    """
    parent, prctl = os.getpid(), ctypes.CDLL(None).prctl

    def end_with_parent() -> None:
        prctl(PR_SET_PDEATHSIG, ending)
        if os.getppid() != parent:  # killed before the kernel was asked
            os._exit(1)

    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=end_with_parent,
    )
    try:
        yield process
    finally:
        try:
            if process.poll() is None:
                process.send_signal(ending)
                process.wait(GRACE)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):  # its children, where it could not end them
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
