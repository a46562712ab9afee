"""Files that nobody has read before are read in a fork of this process: on some damaged ones HDF5 never ends, or crashes.

Python can do nothing about either: HDF5 keeps Python's lock, and a crash is the end of the process.
"""

import collections
import contextlib
import faulthandler
import itertools
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar, cast

from xtcav_ml.system import interrupts, parent_process
from xtcav_ml.system.errors import UserError

SECONDS, MOST_SECONDS = 1.0, 60.0
"""Seconds of the processor that a file may take at least and at most: most take milliseconds. Waiting for a disk is none."""
BYTES_A_SECOND = 10_000_000  # on the disk, for which a file may take longer
MEMORY = 2**31  # bytes that the fork may take beside what it has: half is for unpacked chunks
AHEAD = 32  # paths that a fork gets at a time
MANY = 8 * AHEAD  # paths for which a second fork is worth its start

Answer = TypeVar("Answer")


class Apart(contextlib.AbstractContextManager["Apart[Answer]"], Generic[Answer]):
    """`function` of the path of a file, and of more, called in a fork of this process; any thread may call.

    A fork serves until a file ends it. What the function returns is pickled; of what else it changes only new items of `kept`
    come back. For a file that takes too long or crashes HDF5, a call returns what `refused` makes of the line that says so, or
    raises it as a UserError.
    """

    def __init__(
        self,
        function: Callable[..., Answer],
        refused: Callable[[str], Answer] | None = None,
        kept: dict[Any, Any] | None = None,
    ) -> None:
        self._function, self._refused, self._kept = function, refused, {} if kept is None else kept
        self._fork, self._lock = 0, threading.Lock()

    def __call__(self, path: Path, *more: Any) -> Answer:
        """Return what the function does."""
        with self._lock:
            (answer,) = self._answers([path], more)
            return answer

    def each(self, paths: Sequence[Path]) -> Iterator[Answer]:
        """Yield what the function returns for each path; the fork reads ahead, and a second one beside it if they are many.

        No other thread may call meanwhile.
        """
        batches = iter([paths[first : first + AHEAD] for first in range(0, len(paths), AHEAD)])
        with Apart(self._function, self._refused, self._kept) as second:
            forks = (self, second) if len(paths) >= MANY else (self,)
            asked = collections.deque(
                (fork, batch, fork._send(batch, ())) for fork, batch in zip(forks, batches, strict=False)
            )
            try:
                while asked:
                    fork, batch, sent = asked.popleft()
                    yield from fork._answers(batch, (), sent)
                    for following in itertools.islice(batches, 1):
                        asked.append((fork, following, fork._send(following, ())))
            finally:
                for fork, *_ in asked:
                    fork._kill()

    def _answers(self, paths: Sequence[Path], more: Sequence[Any], sent: int = 0) -> Iterator[Answer]:
        done = 0
        try:
            while done < len(paths):
                if sent == done or not self._fork:
                    sent = self._send(paths[done:], more) + done
                done += 1
                yield self._received(paths[done - 1])
        finally:
            if done < sent:  # answers left over would be taken for those to the next call
                self._kill()

    def _send(self, paths: Sequence[Path], more: Sequence[Any]) -> int:
        if not self._fork:
            self._start()
        with contextlib.suppress(ConnectionError):  # it has ended, as `_received` finds
            self._pipe.send((paths, *more))
        return len(paths)

    def _received(self, path: Path) -> Answer:
        try:
            answer, error, new = self._pipe.recv()
        except (EOFError, ConnectionError):
            return self._refuse(path, self._end())
        except BaseException:  # as Ctrl-C: its answer would be taken for that to the next call
            self._kill()
            raise
        self._kept |= new
        if error is not None:
            raise error
        return cast(Answer, answer)

    def _refuse(self, path: Path, end: int) -> Answer:
        line = (
            f"{path}: not a readable HDF5 file (found {_in_words(end)}, expected intact HDF5). Fix: copy the file again, or "
            "remove it"
        )
        if self._refused is None:
            raise UserError(line)
        return self._refused(line)

    def _start(self) -> None:
        parent, (self._pipe, theirs) = os.getpid(), multiprocessing.Pipe()
        self._fork = os.fork()
        if not self._fork:
            self._pipe.close()
            _serve(parent, theirs, self._answered)
        theirs.close()

    def _answered(self, *arguments: Any) -> tuple[Answer | None, Exception | None, dict[Any, Any]]:
        """Return in the fork what the function returns, what it raises, and what it keeps anew."""
        answer, raised, before = None, None, len(self._kept)
        try:
            answer = self._function(*arguments)
        except Exception as error:
            raised = error
        return answer, raised, dict(itertools.islice(self._kept.items(), before, None))

    def _end(self) -> int:
        """Return how the fork ended, as `os.waitstatus_to_exitcode`."""
        self._pipe.close()
        fork, self._fork = self._fork, 0
        return os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])

    def _kill(self) -> None:
        if self._fork:
            os.kill(self._fork, signal.SIGKILL)  # it has nothing to lose
            self._end()

    def __exit__(self, *_: object) -> None:
        self._kill()


def _serve(parent: int, pipe: Connection, function: Callable[..., Any]) -> NoReturn:
    """Answer calls until the other end of the pipe is closed; the kernel ends this process if one takes too long."""
    try:
        parent_process.follow_parent(parent)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries write there what is said in one line
        faulthandler.disable()
        for number in interrupts.STOPS:
            signal.signal(number, signal.SIG_IGN)  # it is for the parent
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        for kind, limit in ((resource.RLIMIT_AS, used + MEMORY), (resource.RLIMIT_CORE, 0)):
            most = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (limit if most < 0 else min(limit, most), most))
        while True:
            paths, *more = pipe.recv()
            for path in paths:
                signal.setitimer(signal.ITIMER_PROF, _seconds(path))
                answer = function(path, *more)
                signal.setitimer(signal.ITIMER_PROF, 0)
                pipe.send(answer)
    finally:
        os._exit(0)


def _seconds(path: Path) -> float:
    with contextlib.suppress(OSError):
        return min(SECONDS + 512 * path.stat().st_blocks / BYTES_A_SECOND, MOST_SECONDS)
    return SECONDS


def _in_words(end: int) -> str:
    if end == -signal.SIGPROF:
        return "no end of reading its structure"
    return f"a crash of HDF5 by {signal.Signals(-end).name}" if end < 0 else "a crash of HDF5"
