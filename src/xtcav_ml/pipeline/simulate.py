"""Stage `simulate`: write simulated shot files, so that the whole pipeline runs without any file of the experiment."""

import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xtcav_ml.config.schema import PEAK_CLASSES, PEAKS_LABEL, SCHEMA
from xtcav_ml.config.simulate import SimulateParams
from xtcav_ml.data.hdf5 import create_rows, creating
from xtcav_ml.science.simulation import simulator
from xtcav_ml.system import atomic, progress
from xtcav_ml.system.child_process import end_with_parent
from xtcav_ml.system.errors import UserError

SHOTS_AT_ONCE = 25  # shots simulated in one call, 21 MB of frames. The bytes written do not depend on it

BYTES_PER_SHOT = sum(
    int(np.prod(dataset.row_shape)) * {"int16": 2, "f": 8, "i": 8}[dataset.kind] for dataset in SCHEMA.values()
)

_finished: Any = None  # in a worker: the number of finished shots, which it shares with the parent


@dataclass(frozen=True)
class ShotFile:
    """One file to write: shots `first` to `first` + `count` - 1 of `run`."""

    run: int
    number: int
    first: int
    count: int


def simulate_files(params: SimulateParams, out: Path) -> None:
    """Write the shot files of every run into folder `out`, which appears whole or not at all.

    Raises UserError if the disk is too full or a worker is killed.
    """
    files = list(plan_files(params))
    shots = sum(target.count for target in files)
    workers = min(len(os.sched_getaffinity(0)), len(files))
    runs = ", ".join(f"{run}: {count:,}" for run, count in params.runs.items())
    progress.console().print(
        f"simulate: {shots:,} shots (runs {runs}) into {len(files)} files, {shots * BYTES_PER_SHOT / 1e9:.1f} GB in "
        f"{out}; seed {params.seed}, {workers} processes",
    )
    require_space(out, shots * BYTES_PER_SHOT)
    with atomic.replacing(out) as folder:
        folder.mkdir()
        labels = _write_all(params, files, folder, workers)
    progress.console().print(_describe_labels(labels))


def plan_files(params: SimulateParams) -> Iterator[ShotFile]:
    """Yield the files to write, run by run."""
    for run, count in params.runs.items():
        for number, first in enumerate(range(0, count, params.shots_per_file)):
            yield ShotFile(run, number, first, min(params.shots_per_file, count - first))


def file_name(experiment: str, target: ShotFile) -> str:
    """Return the file name, as those of the experiment."""
    return f"{experiment}_mlearn-r{target.run:03d}-c{target.number:04d}.h5"


def require_space(out: Path, size: int) -> None:
    """Raise UserError unless the disk of `out` has 1.1 times `size` bytes free."""
    folder = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(folder).free
    if free < 1.1 * size:
        raise UserError(
            f"{out}: disk is too full (found {free / 1e9:.2f} GB free, expected {1.1 * size / 1e9:.2f} GB). Fix: make room, or "
            "lower simulate.lasing_shots in params.yaml"
        )


def write_file(params: SimulateParams, target: ShotFile, folder: Path) -> Counter[int]:
    """Write one file and return how often each label occurs in it."""
    labels: Counter[int] = Counter()
    with creating(folder / file_name(params.experiment, target)) as file:
        for done in range(0, target.count, SHOTS_AT_ONCE):
            count = min(SHOTS_AT_ONCE, target.count - done)
            rows = simulator.simulate_shots(params, target.run, target.first + done, count)
            for name, values in rows.items():
                if name not in file:
                    create_rows(file, name, target.count, values.shape[1:], values.dtype)
                file[name][done : done + count] = values
            labels.update(rows[PEAKS_LABEL].tolist())
            with _finished.get_lock():
                _finished.value += count
    return labels


def _write_all(params: SimulateParams, files: list[ShotFile], folder: Path, workers: int) -> Counter[tuple[int, int]]:
    """Write every file, one process a core, and return how often each (run, label) occurs."""
    context = multiprocessing.get_context("spawn")
    finished_shots = context.Value("q", 0)
    labels: Counter[tuple[int, int]] = Counter()
    with (
        progress.counting("shots", sum(target.count for target in files)) as advance,
        ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(finished_shots,)) as pool,
    ):
        futures: dict[Future[Counter[int]], ShotFile] = {pool.submit(write_file, params, c, folder): c for c in files}
        waiting, shown = set(futures), 0
        try:
            while waiting:
                finished, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                now = finished_shots.value
                advance(now - shown)
                shown = now
                for future in finished:
                    labels.update({(futures[future].run, label): n for label, n in future.result().items()})
        except BrokenProcessPool:
            raise UserError(
                "simulate: a worker process was killed (found a broken pool, expected 0.6 GB of memory a process). "
                "Fix: free memory"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
    return labels


def _start_worker(finished_shots: Any) -> None:
    """Keep the shared count, and end with the parent."""
    global _finished
    _finished = finished_shots
    end_with_parent()


def _describe_labels(labels: Counter[tuple[int, int]]) -> str:
    """Return one line a run: how many shots have each label."""
    lines = ["simulate: labels by run"]
    for number in sorted({run for run, _ in labels}):
        total = sum(n for (run, _), n in labels.items() if run == number)
        parts = [f"{name} {labels[number, label] / total:.1%}" for label, name in enumerate(PEAK_CLASSES)]
        lines.append(f"  run {number}: {', '.join(parts)}; no label {labels[number, -1] / total:.1%}")
    return "\n".join(lines)
