"""What workers cost and gain: seconds of the engine a task, and how much faster two workers finish a study than one.

    .venv/bin/python -m benchmarks.workers [--minutes 9] [--trials 4] [--epochs 5]

The small network of benchmarks/search.py (make repro first). All trainings have one thread. What is compared runs in turns, as
many as fit into the minutes and at least one, and differences and ratios are medians of those within a turn:

- the same trainings by one worker and by two, beside two plain processes that train at the same time and one: two processors of
  a virtual machine may be one core, and then no engine makes two trainings twice as fast;
- a task that does nothing, on a worker; a training by a worker; the same in a process that the tuner starts; and in one process
  after others, which is what the training itself takes. The time that processors spend on it, in all processes, differs less
  on a machine that does other things too.
"""

import argparse
import contextlib
import logging
import operator
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from benchmarks import machine
from benchmarks.search import ROOT, network, write_coarse

FOR_SCALING = 0.8  # of the minutes, the rest for the cost of a task
NAMES = {
    "nothing": "a task that does nothing, on a worker",
    "worker": "a training by one worker",
    "process": "a training in a process that the tuner starts",
    "alone": "a training after others in one process",
}


class Trainings:
    """Trains the same network again and again, each time from its beginning."""

    def __init__(self, folder: Path, epochs: int) -> None:
        self.folder, self.params, self.begun = folder, network(epochs), 0

    def states(self) -> Path:
        """Return a new folder for checkpoints."""
        self.begun += 1
        return self.folder / "states" / str(self.begun)

    def in_process(self, _: int = 0) -> None:
        """Train in a process as the tuner does without workers."""
        from xtcav_ml.system.child_process import ChildProcess
        from xtcav_ml.tuning.trial import imported, train_trial

        folders = self.folder, self.states()
        for _ in ChildProcess(train_trial, self.params, *folders, subject="", cure="", imported=imported()):
            pass

    def alone(self) -> None:
        """Train in this process."""
        from xtcav_ml.tuning.trial import train_trial

        train_trial(lambda _: True, self.params, self.folder, self.states())

    def by(self, crew: Any, count: int) -> None:
        """Let workers train so many times."""
        from xtcav_ml.tuning.leg import computes, run_leg

        like = computes(self.folder)
        for number in range(count):
            crew.submit(number, run_leg, like, number, self.params, (self.folder, self.states()), 0)
        finish(crew, count)


def finish(crew: Any, count: int) -> None:
    """Wait until so many tasks have ended. Raises the error of one."""
    while count:
        arrived = crew.arrive()
        if arrived is not None and arrived.kind == "error":
            raise arrived.content
        count -= arrived is not None and arrived.kind == "result"


def nothing(crew: Any, count: int) -> None:
    """Let workers do nothing, so many times."""
    for number in range(count):
        crew.submit(number, operator.is_not, None)
    finish(crew, count)


Turn = dict[str, float]
SPENT = ", processors"
"""End of the name under which a turn has what the processors spent."""


def spent() -> float:
    """Return the seconds that processors have spent on this process and all that it has started."""
    total, this = 0.0, psutil.Process()
    for process in (this, *this.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])  # its own, and of the children that it has waited for
    return total


def turns(until: float, measured: dict[str, Callable[[], object]]) -> list[Turn]:
    """Return the seconds of each in every turn: one at least, then as many as end before `until` (`time.monotonic`)."""
    found: list[Turn] = []
    longest = 0.0
    while not found or time.monotonic() + longest < until:
        turn: Turn = {}
        for name, call in measured.items():
            began, before = time.monotonic(), spent()
            call()
            turn |= {name: time.monotonic() - began, name + SPENT: spent() - before}
        found.append(turn)
        longest = max(longest, sum(turn[name] for name in measured))
        print(f"turn {len(found)}: {', '.join(f'{name} {turn[name]:.2f} s' for name in measured)}", flush=True)
    return found


def ratio(found: list[Turn], name: str, other: str) -> float:
    """Return the median over turns of the seconds of one over those of another."""
    return statistics.median(turn[name] / turn[other] for turn in found)


def seconds(found: list[Turn], name: str, less: str = "") -> float:
    """Return the median over turns of the seconds of one, less those of another."""
    return statistics.median(turn[name] - turn.get(less, 0) for turn in found)


def scaling(until: float, trainings: Trainings, one: Any, two: Any, trials: int) -> list[Turn]:
    """Return the seconds of so many trainings by workers and by plain processes, one of them and two."""

    def plain(count: int) -> Callable[[], object]:
        def run() -> None:
            with ThreadPoolExecutor(count) as threads:
                list(threads.map(trainings.in_process, range(trials)))

        return run

    warm = {"two workers": lambda: trainings.by(two, 2), "one worker": lambda: trainings.by(one, 1)}
    print("once beforehand, which does not count", flush=True)
    turns(0, {**warm, "one process": trainings.in_process})
    return turns(
        until,
        {
            "one worker": lambda: trainings.by(one, trials),
            "two workers": lambda: trainings.by(two, trials),
            "one process": plain(1),
            "two processes": plain(2),
        },
    )


def costs(until: float, trainings: Trainings, crew: Any) -> list[Turn]:
    """Return the seconds of one task of each kind."""
    from xtcav_ml.learning import backend

    backend.configure(seed=0, threads=1)  # of this process, which no other is forked from
    trainings.alone()
    return turns(
        until,
        {
            "nothing": lambda: nothing(crew, 1),
            "worker": lambda: trainings.by(crew, 1),
            "process": trainings.in_process,
            "alone": trainings.alone,
        },
    )


def show(scaled: list[Turn], single: list[Turn]) -> None:
    """Print the tables."""
    workers, processes = ratio(scaled, "one worker", "two workers"), ratio(scaled, "one process", "two processes")
    print(f"\n| two instead of one, {len(scaled)} turns | times as fast |\n|---|---|")
    print(f"| workers | {workers:.2f} |\n| plain processes, without an engine | {processes:.2f} |")
    print(f"| workers over processes | {workers / processes:.2f} |")
    print(f"\n| one task, {len(single)} turns | seconds | of processors |\n|---|---|---|")
    for name, words in NAMES.items():
        print(f"| {words} | {seconds(single, name):.2f} | {seconds(single, name + SPENT):.2f} |")
    for words, less in {"a process": "process", "the training itself": "alone"}.items():
        more = [seconds(single, "worker" + end, less + end) for end in ("", SPENT)]
        print(f"| a worker, more than {words} | {more[0]:.2f} | {more[1]:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=9, help="no turn begins that would not end by then")
    parser.add_argument("--trials", type=int, default=4, help="trainings that one or two share")
    parser.add_argument("--epochs", type=int, default=5, help="of each training")
    arguments = parser.parse_args()
    began, given = time.monotonic(), 60 * arguments.minutes
    os.chdir(ROOT)
    warnings.simplefilter("ignore")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of the same network made again and again
    from xtcav_ml.system import workers

    print(machine.described(), f"load {os.getloadavg()[0]:.1f}", sep=", ", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in ("train.h5", "validation.h5"):
            write_coarse(ROOT / "data/prepared" / name, folder / name)
        trainings = Trainings(folder, arguments.epochs)
        with workers.opened("local", 1, 1, 1.0, folder / "one") as one:
            with workers.opened("local", 2, 1, 1.0, folder / "two") as two:
                scaled = scaling(began + FOR_SCALING * given, trainings, one, two, arguments.trials)
            single = costs(began + given, trainings, one)
    show(scaled, single)


if __name__ == "__main__":
    main()
