"""Requests to stop, by Ctrl-C, a batch system or a terminal that is closed, that are neither lost nor come at a bad moment.

A KeyboardInterrupt that a signal raises anywhere can be swallowed by libraries in C++, or leave a lock of Python's held for
good: the Condition in every threading.Event and queue.Queue is acquired by a Python function, which may be interrupted
before it returns. So a request is remembered, and `require_none` raises it between two steps; `held` defers it. Where an
exception would be lost, in a function that a library in C calls (`without_caller`), the signal is sent again a moment later.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals of Ctrl-C, of a batch system, and of a terminal that is closed."""

REPEAT_SECONDS = 1.0
"""Seconds after which another signal is a request to stop at once: `timeout` and a terminal may send the same one twice."""

HELD_BACK = b"xtcav: stopping after this step; press Ctrl-C again to stop now\n"

AGAIN_SECONDS = 0.01
"""Seconds until a signal is sent again."""

_without_caller: set[CodeType] = set()
_first: float | None = None  # when the request came
_owed = False  # and nothing has been raised since
_held = 0


def listen() -> None:
    """Treat all STOPS as Ctrl-C, but for the end of a terminal that `nohup` has told this process to outlive."""
    _handle(_stop)
    sys.unraisablehook = _unraisable


def without_caller(function: _Function) -> _Function:
    """Mark a function that a library in C calls and that must not raise: no request to stop is raised in it."""
    _without_caller.add(function.__code__)
    return function


def block() -> None:
    """Keep STOPS waiting until `end_at_once`, also in the program that this process becomes: Python's start has no handler."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)


def end_at_once(name: str) -> None:
    """Let the STOPS of `listen` end this process with one line, wherever it is.

    For a program of another that leaves nothing half done.
    """

    def end(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            os.write(2, f"xtcav: {name}: stopped\n".encode())
        os._exit(130)

    _handle(end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def leave() -> None:
    """Let this process end in order, now that its work is done: a request to stop comes too late; a repeated one ends it."""

    def end(number: int, frame: FrameType | None) -> None:
        global _first
        now = time.monotonic()
        if _first is not None and now - _first > REPEAT_SECONDS:
            os._exit(130)
        _first = _first or now

    _handle(end)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Hold a request to stop back until the end, or the next `require_none`. A repeated request stops at once.

    For the main thread, where signals arrive.
    """
    global _held
    _held += 1
    try:
        yield
    finally:
        _held -= 1
    if _owed and not _held:
        require_none()


def require_none() -> None:
    """Raise KeyboardInterrupt if there was a request to stop, even if it was raised before: it may have been swallowed."""
    global _owed
    _owed = False
    if _first is not None:
        raise KeyboardInterrupt


def requested() -> bool:
    """Return whether there was a request to stop: an error after it may be its own, wrapped or replaced by a library."""
    return _first is not None


def pending() -> bool:
    """Return whether a request to stop is held back."""
    return _owed


def withdraw() -> None:
    """Drop the request that is held back: it only ended a wait, and the work before it is complete."""
    global _first, _owed
    _first, _owed = None, False


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in STOPS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    global _first, _owed
    if _is_without_caller(frame):
        _send_again(number)
        return
    now = time.monotonic()
    again = _first is not None and now - _first > REPEAT_SECONDS
    if _held and not again:
        if _first is None:
            _first, _owed = now, True
            with contextlib.suppress(OSError):
                os.write(2, HELD_BACK)  # print may be what was interrupted
        return
    _first = _first or now
    raise KeyboardInterrupt


def _is_without_caller(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code in _without_caller:
            return True
        frame = frame.f_back
    return False


def _send_again(number: int) -> None:
    again = threading.Timer(AGAIN_SECONDS, signal.pthread_kill, (threading.main_thread().ident, number))
    again.daemon = True
    again.start()


def _unraisable(raised: "sys.UnraisableHookArgs") -> None:
    """Say nothing of a request to stop that came in a destructor: the next `require_none` raises it."""
    if not isinstance(raised.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(raised)
