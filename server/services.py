"""Programs that run beside this one and end with it, however it ends."""

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from subprocess import DEVNULL, Popen, TimeoutExpired
from typing import IO

PR_SET_PDEATHSIG = 1  # of prctl(2)
GRACE = 30.0  # seconds that a program gets to end in order


@contextlib.contextmanager
def running(
    command: Sequence[str], ending: signal.Signals, env: Mapping[str, str], output: IO[bytes] | None = None
) -> Iterator[Popen[bytes]]:
    """Run a program with exactly the environment `env`; in the end send it signal `ending`, after which none of it is left.

    Ctrl-C in the terminal does not reach it, so that several can be ended in their order. If this process is killed, the
    kernel sends `ending`. What it prints goes to file `output`, by default to where this process prints.
    """
    parent, prctl = os.getpid(), ctypes.CDLL(None).prctl

    def follow_parent() -> None:
        prctl(PR_SET_PDEATHSIG, ending)
        if os.getppid() != parent:  # killed before the kernel was asked
            os._exit(1)

    process = Popen(
        command, env=env, stdin=DEVNULL, stdout=output, stderr=output, start_new_session=True, preexec_fn=follow_parent
    )
    try:
        yield process
    finally:
        try:
            process.send_signal(ending)  # nothing if it has ended
            with contextlib.suppress(TimeoutExpired):
                process.wait(GRACE)
        finally:
            with contextlib.suppress(ProcessLookupError):  # its children, where it could not end them
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
