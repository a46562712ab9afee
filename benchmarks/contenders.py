"""Ways to do the same work, each in a process of its own, timed in turns: what else the machine does hits all of them.

A process of its own, since each library brings its threads and its memory, and since only so a peak of memory is that of one
way.
"""

import importlib
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

AGREES = 2e-4  # largest difference of two contenders' probabilities: they sum in other orders


class Unavailable(Exception):
    """A library that a contender needs is not installed."""


class Contender:
    """`make(*arguments)` in a new process: it returns what is timed, and the answers that it gives (an array, or None)."""

    def __init__(self, make: Callable[..., tuple[Callable[[], object], Any]], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        where = (make.__module__, make.__qualname__)
        self._process = context.Process(target=_work, args=(other, where, arguments), daemon=True)
        self._process.start()
        other.close()
        self.answers = self._received()

    def __call__(self) -> float:
        """Return the seconds of one turn."""
        self._pipe.send(True)
        return float(self._received())

    def end(self) -> float:
        """End the process, and return its peak of memory (MB)."""
        self._pipe.send(False)
        peak = float(self._received())
        self._process.join()
        return peak

    def _received(self) -> Any:
        try:
            kind, value = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"a contender ended with exit code {self._process.exitcode}") from None
        if kind == "missing":
            self._process.join()
            raise Unavailable(value)
        return value


def _work(pipe: Connection, where: tuple[str, str], arguments: tuple[Any, ...]) -> None:
    """Build the work, do it once, and then once for each request."""
    module, name = where
    try:
        work, answers = getattr(importlib.import_module(module), name)(*arguments)
    except ModuleNotFoundError as error:
        pipe.send(("missing", error.name))
        return
    pipe.send(("answers", answers))
    work()  # compiles, and fills the caches
    while pipe.recv():
        started = time.perf_counter()
        work()
        pipe.send(("seconds", time.perf_counter() - started))
    pipe.send(("peak", _peak_mb()))


def _peak_mb() -> float:
    """Return the peak of this program: that of `getrusage` is at least what its parent held when it was started."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """Return a way that is timed in this process."""

    def turn() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return turn


def in_turns(ways: Mapping[str, Callable[[], float]], turns: int) -> dict[str, list[float]]:
    """Return the seconds of each way in each turn; the first turn, which warms the caches, does not count."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            seconds = way()
            if turn:
                times[name].append(seconds)
    return times


def started(makers: Mapping[str, tuple[Any, ...]]) -> dict[str, Contender]:
    """Start each contender, one after the other; one whose library is not installed is left out, with a line."""
    contenders: dict[str, Contender] = {}
    for name, (make, *arguments) in makers.items():
        try:
            contenders[name] = Contender(make, *arguments)
        except Unavailable as missing:
            print(f"  {name}: left out, since {missing} is not installed (`make bench` installs it)", flush=True)
    return contenders


def require_same(contenders: Mapping[str, Contender]) -> None:
    """Raise RuntimeError if two contenders do not give the same answers: they would not do the same work."""
    given = {name: np.asarray(one.answers) for name, one in contenders.items() if one.answers is not None}
    first = next(iter(given), "")
    for name, answers in given.items():
        difference = float(np.abs(answers - given[first]).max())
        if not difference <= AGREES:
            raise RuntimeError(f"{name} and {first} do not compute the same: their answers differ by {difference:.2g}")


def median(times: list[float]) -> float:
    """Return the median."""
    return statistics.median(times)


def spread(times: list[float]) -> float:
    """Return half of the distance of the quartiles over the median: how noisy the times were."""
    low, middle, high = np.quantile(times, (0.25, 0.5, 0.75))
    return float((high - low) / 2 / middle)


def ratio(times: Mapping[str, list[float]], over: str, under: str) -> float:
    """Return the median over the turns of one time over another of the same turn."""
    return statistics.median(a / b for a, b in zip(times[over], times[under], strict=True))
