"""Programs that run beside this one and end with it, however it ends."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from subprocess import DEVNULL, Popen, TimeoutExpired
from typing import IO, Self

from xtcav_ml.system.errors import UserError
from xtcav_ml.system.parent_process import killed_with_parent

GRACE = 30.0  # seconds that a program gets to end in order
STARTS, STEADY = 30, 60.0  # how often in a row a program may end before it has run for so many seconds


@contextlib.contextmanager
def running(
    command: Sequence[str], ending: signal.Signals, env: Mapping[str, str], output: IO[bytes] | None = None
) -> Iterator[Popen[bytes]]:
    """Run a program with exactly the environment `env`; in the end send it signal `ending`, after which none of it is left.

    Ctrl-C in the terminal does not reach it, so that several can be ended in their order. If this process is killed, the
    kernel sends `ending`. What it prints goes to file `output`, by default to where this process prints.
    """
    follow = killed_with_parent(ending)
    process = Popen(
        command, env=env, stdin=DEVNULL, stdout=output, stderr=output, start_new_session=True, preexec_fn=follow
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
        self._since, self._ended = time.monotonic(), 0

    def __enter__(self) -> Self:
        self.process = self._stack.enter_context(self._start())
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def revive(self) -> None:
        """Start the program again if it has ended, and say so. Raises UserError if it ends again and again."""
        if self.process.poll() is not None:
            self._ended = self._ended + 1 if time.monotonic() - self._since < STEADY else 1
            self._since = time.monotonic()
            if self._ended > STARTS:
                raise UserError(
                    f"{self._name}: does not stay up (found exit code {self.process.returncode}, {STARTS} times in a row, "
                    "expected none). Fix: read its messages"
                )
            print(f"{self._name} ended (exit code {self.process.returncode}) and is started again", flush=True)
            self._stack.close()
            self.process = self._stack.enter_context(self._start())
