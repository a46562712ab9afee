"""Being told to stop, by Ctrl-C or by a batch system, in a way that is not lost.

Libraries in C++ can swallow the KeyboardInterrupt that a signal raises in the middle of them. So it is also remembered, and
raised again by whoever asks between two steps.
"""

import signal
from types import FrameType

_asked = False


def listen() -> None:
    """Take SIGTERM, with which batch systems end a job, as Ctrl-C: what has begun is ended in order."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def require_none() -> None:
    """Raise KeyboardInterrupt if somebody asked to stop."""
    if _asked:
        raise KeyboardInterrupt


def _stop(number: int, frame: FrameType | None) -> None:
    global _asked
    _asked = True
    raise KeyboardInterrupt
