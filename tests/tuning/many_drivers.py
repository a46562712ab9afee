"""Drivers that begin at the same time, each with a study of its own, in the storage that OPTUNA_STORAGE names.

    python -m tests.tuning.many_drivers FOLDER PROCESSES TRIALS

Forks of a process that has imported Optuna: each would take seconds to do so.
"""

import multiprocessing
import multiprocessing.synchronize
import sys
from pathlib import Path

from tests.tuning.test_studies import TUNE, finish
from xtcav_ml.tuning import storage, studies

PROCESSES = multiprocessing.get_context("fork")


def search(folder: Path, number: int, trials: int, go: multiprocessing.synchronize.Barrier) -> None:
    """Run so many trials, as soon as no other driver keeps the storage to itself."""
    path = folder / f"{number}.db"
    go.wait()
    with studies.usable(path):
        study = studies.open_study(TUNE, {"driver": number}, path)
        with storage.alone(storage.place(path), path, study.study_name):
            finish(study, trials)


def main() -> None:
    folder, processes, trials = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    go = PROCESSES.Barrier(processes)
    drivers = [PROCESSES.Process(target=search, args=(folder, number, trials, go)) for number in range(processes)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    sys.exit(sum(driver.exitcode != 0 for driver in drivers))


if __name__ == "__main__":
    main()
