"""Child processes: they do not outlive their parent, and what they leak or break ends with them."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Any

from xtcav_ml.system import interrupts
from xtcav_ml.system.errors import DiskFull, UserError, disk_full

SECONDS_TO_END = 5.0  # seconds that a process may take to end by itself after a request to stop
SECONDS_TO_BE_SEEN = 1.0  # from the end of a killed process' connections, which others see, to its own
POLL_SECONDS = 0.1  # between looks for a request to stop, which may be held back

PARENTS = (signal.SIGINT, signal.SIGHUP)
"""Signals that a terminal sends to all of its processes: what they mean is the parent's to decide."""

UNKNOWN = 255
"""Exit code of a process whose parent was killed, which would have told it."""

KILLS = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP, -signal.SIGINT, UNKNOWN)
"""Exit codes of a process that another one ended: a user, a batch system or, for lack of memory, the system."""


RAISED = {"user error": UserError, "disk full": DiskFull}
"""Errors of the target that are raised here as they are, by the kind of the message."""


class Killed(UserError):
    """The process was ended by another one, whatever it did."""


class Failed(UserError):
    """The target raised what is no user's error: its own, or for lack of another process."""


class ChildProcess:
    """`target(send, *arguments)` in a process of its own. Iterate over its messages, then take its `result`.

    `send(message)` returns whether to continue, once the parent has handled the message; set `stop` to answer no. Iterating
    raises UserError if the target raises or the process dies; `subject` and `cure` are for that. With modules that are
    `imported` the process has them at once: it is a fork of one that has imported them, and does nothing else.
    """

    def __init__(
        self, target: Callable[..., Any], *arguments: Any, subject: str, cure: str, imported: Sequence[str] = ()
    ) -> None:
        context = _context(imported)
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, target, arguments), daemon=True)
        with without_interrupts():
            self._process.start()
        theirs.close()  # so that the child's end is the last: its death is then an end of file here
        self._subject, self._cure = subject, cure
        self.stop = False
        self.result: Any = None
        self._others: Sequence[ChildProcess] = ()
        self._ended = False

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._messages()
        finally:
            self.close()

    def beside(self, others: "Sequence[ChildProcess]") -> Iterator[Any]:
        """Iterate over its messages while `others`, which send none, work with it; raise as soon as one of all fails.

        One that another process ended is blamed before those that fail for lack of it.
        """
        self._others = others
        try:
            yield from self._messages()
        except UserError as error:
            end = time.monotonic() + (SECONDS_TO_BE_SEEN if isinstance(error, Failed) else 0.0)
            for process in (self, *others):
                process._require_not_killed(max(0.0, end - time.monotonic()))
            raise

    def _messages(self) -> Iterator[Any]:
        while (received := self._receive())[0] == "message":
            yield received[1]
            with contextlib.suppress(BrokenPipeError):  # it died; the next message gives the reason
                self._pipe.send(not self.stop)
            if self.stop:
                return
        self.result = received[1]

    def kill(self) -> None:
        """End the process at once, whatever it does."""
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def close(self) -> None:
        """End the process, if it still runs."""
        with contextlib.suppress(OSError):  # it may wait for the answer whether to continue
            self._pipe.send(False)
        self._process.join(timeout=SECONDS_TO_END)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()
        self._pipe.close()

    def _receive(self) -> tuple[str, Any]:
        """Return what came, a message or the result, by kind.

        Raises UserError for an error or the end of the process, DiskFull or Killed where that was the reason.
        """
        try:
            interrupts.require_none()  # also where messages come so fast that there is no wait between them
            while not self._pipe.poll(POLL_SECONDS):
                interrupts.require_none()
                for other in self._others:
                    other._require_no_failure()
            kind, content = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            raise self._death() from None
        if kind in RAISED:
            raise RAISED[kind](content)
        if kind == "error":
            raise Failed(f"{self._subject}: {content}. Fix: {self._cure}")
        return kind, content

    def _death(self) -> UserError:
        """Return the error of the process that has died."""
        self._process.join()
        code = self._process.exitcode
        why = ", killed, perhaps for lack of memory" if code == -signal.SIGKILL else ""
        found = f"{self._subject}: its process died (found exit code {code}{why}, expected 0). Fix: {self._cure}"
        return (Killed if code in KILLS else UserError)(found)

    def _require_no_failure(self) -> None:
        """Raise as `_receive` if the process, which sends no message, has failed."""
        if not self._ended and self._pipe.poll():
            self._receive()
            self._ended = True

    def _require_not_killed(self, seconds: float) -> None:
        """Raise Killed if another process ended this one, or does within `seconds`."""
        if multiprocessing.connection.wait([self._process.sentinel], seconds) and isinstance(
            error := self._death(), Killed
        ):
            raise error


def _context(imported: Sequence[str]) -> ForkServerContext | SpawnContext:
    """Return how a process starts: anew, since TensorFlow does not survive a fork once it has computed something."""
    if not imported:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*imported])
    return context


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Let processes that are started meanwhile leave Ctrl-C to their parent, from their first instruction on."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, PARENTS)
    resource_tracker.ensure_running()  # starts with the first process, and then lets interrupts through
    signal.pthread_sigmask(signal.SIG_BLOCK, PARENTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: Connection, target: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Run the target in the child: answer each call of `send`, and send at the end how it ended."""
    end_with_parent()

    def send(message: Any) -> bool:
        pipe.send(("message", message))
        return bool(pipe.recv())

    try:
        last = "result", target(send, *arguments)
    except UserError as error:
        last = "disk full" if isinstance(error, DiskFull) else "user error", str(error)
    except Exception as error:  # whatever it is, the parent continues and shows it on one line
        words = " ".join(str(error).split())
        failed = "error", f"failed (found {type(error).__name__}: {words}, expected a result)"
        last = ("disk full", str(full)) if (full := disk_full(error)) else failed
    with contextlib.suppress(OSError):  # the parent may be gone
        pipe.send(last)


def end_with_parent() -> None:
    """Call in a child: it ends as soon as its parent is gone, and leaves Ctrl-C to the parent, one before its start too."""
    interrupts.withdraw()
    for number in PARENTS:
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
