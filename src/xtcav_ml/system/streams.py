"""Standard output and error that are closed, full or missing, without an effect on what is computed.

A reader that ends early (`| head -1`), a full disk or a closed descriptor makes Python's own streams raise at any print, and
again when the interpreter ends. Here what cannot be written is dropped, and the command goes on. At its end a full disk is an
error; a reader who has seen enough is none.
"""

import contextlib
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

from xtcav_ml.system.errors import DISK_FULL, file_error

DESCRIPTORS = {"stdin": 0, "stdout": 1, "stderr": 2}
NAMES = {"stdout": "standard output", "stderr": "standard error"}


class _Stream(io.FileIO):
    """A descriptor on which no write fails: the first failure is kept, and what comes after it dropped."""

    failure: OSError | None = None
    used: ClassVar[bool] = False  # any of them

    def write(self, data: Any) -> int:
        _Stream.used = True
        if self.failure is None:
            try:
                while (written := super().write(data)) is None:  # a descriptor that does not block
                    select.select([], [self], [])
                return written
            except OSError as error:
                self.failure = error
        return memoryview(data).nbytes


def silent() -> bool:
    """Return whether this process has printed nothing yet."""
    return not _Stream.used


@contextlib.contextmanager
def forgiving() -> Iterator[None]:
    """Replace this process's standard output and error by such streams, for good.

    Raises UserError at the end if what was printed did not fit on the disk, unless there is an error already.
    """
    for descriptor in DESCRIPTORS.values():
        _open_missing(descriptor)
    streams = {name: _replace(name) for name in NAMES if _is_own(name)}
    try:
        yield
    except SystemExit as end:
        _require_written(streams, end.code)
        raise
    _require_written(streams)


def become(command: list[str]) -> None:
    """Run a program, the first word of `command`, in the place of this process; does not return.

    What it prints on standard output is shown on a terminal only: elsewhere it might end at what it cannot print.
    """
    sys.stdout.flush()
    if not sys.stdout.isatty():
        os.dup2(os.open(os.devnull, os.O_WRONLY), DESCRIPTORS["stdout"])
    os.execv(command[0], command)


def _open_missing(descriptor: int) -> None:
    """Let a closed descriptor lead nowhere: the next file to be opened would get its number, and what is printed."""
    try:
        os.fstat(descriptor)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
        os.set_inheritable(descriptor, True)  # for processes that this one starts, too


def _is_own(name: str) -> bool:
    """Return whether a stream leads to its descriptor, or is missing; False for that of a test, which keeps what is printed."""
    stream = getattr(sys, name)
    try:
        return stream is None or stream.fileno() == DESCRIPTORS[name]
    except (OSError, AttributeError):
        return False


def _replace(name: str) -> _Stream:
    stream = _Stream(DESCRIPTORS[name], "w", closefd=False)
    encoding = getattr(getattr(sys, name), "encoding", "utf-8")  # there is none where the descriptor was closed
    by_line = name == "stderr" or stream.isatty()
    text = io.TextIOWrapper(io.BufferedWriter(stream), encoding, "backslashreplace", line_buffering=by_line)
    setattr(sys, name, text)
    return stream


def _require_written(streams: dict[str, _Stream], code: object = 0) -> None:
    for name, stream in streams.items():
        getattr(sys, name).flush()
        if not code and stream.failure is not None and stream.failure.errno in DISK_FULL:
            raise file_error(NAMES[name], stream.failure)
