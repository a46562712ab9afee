"""Child processes: they do not outlive their parent, and what they leak or break ends with them."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from xtcav_ml.system.errors import UserError

SECONDS_TO_END = 5.0
"""Seconds that a process which was asked to stop may take to end by itself."""


class ChildProcess:
    """`target(send, *arguments)` in a process of its own. Iterate over what it sends, then take its `result`.

    `send(message)` waits until the message was looked at, and returns whether to go on; set `stop` to answer that it shall
    not. Iterating raises UserError if the target raises or the process dies; `subject` and `cure` are for that.
    """

    def __init__(self, target: Callable[..., Any], *arguments: Any, subject: str, cure: str) -> None:
        context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, target, arguments), daemon=True)
        self._process.start()
        theirs.close()  # so that the child's end is the last: its death is then an end of file here
        self._subject, self._cure = subject, cure
        self.stop = False
        self.result: Any = None

    def __iter__(self) -> Iterator[Any]:
        try:
            while not isinstance(message := self._receive(), _Returned):
                if isinstance(message, _Raised):
                    prefix = f"{self._subject}: {message.kind}: " if message.kind else ""
                    raise UserError(f"{prefix}{message.reason}")
                yield message
                with contextlib.suppress(BrokenPipeError):  # it died; the next message says how
                    self._pipe.send(not self.stop)
                if self.stop:
                    return
            self.result = message.value
        finally:
            self.close()

    def close(self) -> None:
        """End the process, if it still runs."""
        with contextlib.suppress(OSError):  # it may wait for the answer whether to go on
            self._pipe.send(False)
        self._process.join(timeout=SECONDS_TO_END)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()
        self._pipe.close()

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
        code = self._process.exitcode
        killed = ", killed, perhaps for lack of memory" if code == -signal.SIGKILL else ""
        raise UserError(
            f"{self._subject}: its process died (found exit code {code}{killed}, expected 0). Fix: {self._cure}"
        )


@dataclass(frozen=True)
class _Returned:
    value: Any


@dataclass(frozen=True)
class _Raised:
    kind: str  # of the exception; empty for a UserError, whose reason says all
    reason: str


def _work(pipe: Connection, target: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """What the child does: answers each call of `send`, and sends at the end how it ended."""
    end_with_parent()

    def send(message: Any) -> bool:
        pipe.send(message)
        return bool(pipe.recv())

    try:
        ended: _Returned | _Raised = _Returned(target(send, *arguments))
    except UserError as error:
        ended = _Raised("", str(error))
    except Exception as error:  # whatever it is, the parent goes on and shows it
        ended = _Raised(type(error).__name__, str(error))
    with contextlib.suppress(OSError):  # nobody listens any more
        pipe.send(ended)


def end_with_parent() -> None:
    """Call in a child: it ends as soon as its parent is gone, however that went, and leaves Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
