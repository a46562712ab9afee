"""Child processes: they do not outlive their parent, and what they leak or break ends with them."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from xtcav_ml.system.errors import UserError

SECONDS_TO_END = 5.0  # seconds that a process may take to end by itself after a request to stop


class ChildProcess:
    """`target(send, *arguments)` in a process of its own. Iterate over its messages, then take its `result`.

    `send(message)` returns whether to continue, once the parent has handled the message; set `stop` to answer no. Iterating
    raises UserError if the target raises or the process dies; `subject` and `cure` are for that.
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
            while (received := self._receive())[0] == "message":
                yield received[1]
                with contextlib.suppress(BrokenPipeError):  # it died; the next message gives the reason
                    self._pipe.send(not self.stop)
                if self.stop:
                    return
            self.result = received[1]
        finally:
            self.close()

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
        """Return what came, a message or the result, by kind. Raises UserError for an error or the end of the process."""
        try:
            kind, content = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            code = self._process.exitcode
            killed = ", killed, perhaps for lack of memory" if code == -signal.SIGKILL else ""
            kind, content = "end", f"its process died (found exit code {code}{killed}, expected 0)"
        if kind == "user error":
            raise UserError(content)
        if kind in ("error", "end"):
            raise UserError(f"{self._subject}: {content}. Fix: {self._cure}")
        return kind, content


def _work(pipe: Connection, target: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Run the target in the child: answer each call of `send`, and send at the end how it ended."""
    end_with_parent()

    def send(message: Any) -> bool:
        pipe.send(("message", message))
        return bool(pipe.recv())

    try:
        last = "result", target(send, *arguments)
    except UserError as error:
        last = "user error", str(error)
    except Exception as error:  # whatever it is, the parent continues and shows it on one line
        words = " ".join(str(error).split())
        last = "error", f"failed (found {type(error).__name__}: {words}, expected a result)"
    with contextlib.suppress(OSError):  # the parent may be gone
        pipe.send(last)


def end_with_parent() -> None:
    """Call in a child: it ends as soon as its parent is gone, and leaves Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
