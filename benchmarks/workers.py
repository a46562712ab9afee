"""What workers cost and gain: seconds of the engine a task, and how much faster two workers finish a study than one.

    .venv/bin/python -m benchmarks.workers [--trials 12] [--epochs 20] [--rounds 3]

The small network of benchmarks/search.py (make repro first). All trainings have one thread. What is compared runs in turns, and
medians of the rounds count:

- a task that does nothing, on a worker; a training by a worker; the same in a process that the tuner starts; and in one process
  one after the other, which is what the training itself takes;
- the same trainings by one worker and by two, beside two plain processes that train at the same time and one: two processors of
  a virtual machine may be one core, and then no engine makes two trainings twice as fast.
"""

import argparse
import operator
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.search import ROOT, network, write_coarse

NAMES = {
    "nothing": "a task that does nothing, on a worker",
    "process": "a training in a process of its own",
    "worker": "a training by one worker",
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


def medians(rounds: int, measured: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median seconds of each, run in turns; the first turn, which warms up, does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in measured}
    for turn in range(rounds + 1):
        for name, call in measured.items():
            began = time.monotonic()
            call()
            seconds[name] += [time.monotonic() - began] * (turn > 0)
    return {name: statistics.median(values) for name, values in seconds.items()}


def overhead(trainings: Trainings, crew: Any, trials: int, rounds: int) -> dict[str, float]:
    """Return seconds a task of each kind."""

    def times(call: Callable[[], object]) -> Callable[[], object]:
        return lambda: [call() for _ in range(trials)]

    found = medians(
        rounds,
        {
            "nothing": lambda: nothing(crew, trials),
            "process": times(trainings.in_process),
            "worker": lambda: trainings.by(crew, trials),
            "alone": times(trainings.alone),
        },
    )
    return {name: seconds / trials for name, seconds in found.items()}


def scaling(trainings: Trainings, crews: Sequence[Any], trials: int, rounds: int) -> dict[str, float]:
    """Return how many times as fast two are as one: workers, and plain processes."""

    def plain(count: int) -> Callable[[], object]:
        def run() -> None:
            with ThreadPoolExecutor(count) as threads:
                list(threads.map(trainings.in_process, range(trials)))

        return run

    found = medians(
        rounds,
        {
            "one worker": lambda: trainings.by(crews[0], trials),
            "two workers": lambda: trainings.by(crews[1], trials),
            "one process": plain(1),
            "two processes": plain(2),
        },
    )
    pairs = {"workers": ("one worker", "two workers"), "processes": ("one process", "two processes")}
    return {name: found[one] / found[two] for name, (one, two) in pairs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    os.chdir(ROOT)
    warnings.simplefilter("ignore")
    from xtcav_ml.learning import backend
    from xtcav_ml.system import workers

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in ("train.h5", "validation.h5"):
            write_coarse(ROOT / "data/prepared" / name, folder / name)
        trainings = Trainings(folder, arguments.epochs)
        with (
            workers.opened("local", 1, 1, 1.0, folder / "one") as one,
            workers.opened("local", 2, 1, 1.0, folder / "two") as two,
        ):
            how_fast = scaling(trainings, (one, two), arguments.trials, arguments.rounds)
            backend.configure(seed=0, threads=1)  # after the last process that does not train began
            seconds = overhead(trainings, one, arguments.trials, arguments.rounds)
    print("| what | seconds | more than the training itself |\n|---|---|---|")
    for name, words in NAMES.items():
        more = "" if name in ("nothing", "alone") else f"{seconds[name] - seconds['alone']:.2f}"
        print(f"| {words} | {seconds[name]:.2f} | {more} |")
    print("\n| two instead of one | times as fast |\n|---|---|")
    for name, factor in how_fast.items():
        print(f"| {name} | {factor:.2f} |")


if __name__ == "__main__":
    main()
