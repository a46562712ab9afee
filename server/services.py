"""Programs that run beside this one and end with it, however it ends."""

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from subprocess import DEVNULL, Popen, TimeoutExpired
from typing import IO, Self

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


class Kept:
    """A program that `start` runs, and that `revive` starts again if it has ended by itself."""

    process: Popen[bytes]

    def __init__(self, name: str, start: Callable[[], contextlib.AbstractContextManager[Popen[bytes]]]) -> None:
        self._name, self._start, self._stack = name, start, contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.process = self._stack.enter_context(self._start())
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def revive(self) -> None:
        """Start the program again if it has ended, and say so."""
        if self.process.poll() is not None:
            print(f"{self._name} ended (exit code {self.process.returncode}) and is started again", flush=True)
            self._stack.close()
            self.process = self._stack.enter_context(self._start())
