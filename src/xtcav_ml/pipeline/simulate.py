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

BLOCK = 25
"""Shots made at a time, 21 MB of frames. The bytes written do not depend on it."""

BYTES_PER_SHOT = sum(
    int(np.prod(dataset.row_shape)) * {"int16": 2, "f": 8, "i": 8}[dataset.kind] for dataset in SCHEMA.values()
)

_made: Any = None
"""In a worker: the count of finished shots that it shares with the parent."""


@dataclass(frozen=True)
class Chunk:
    """One file to write: shots `first` to `first` + `count` - 1 of `run`."""

    run: int
    number: int
    first: int
    count: int


def run(params: SimulateParams, out: Path) -> None:
    """Write the shot files of every run into folder `out`, which appears whole or not at all.

    Raises UserError if the disk is too full or a worker is killed.
    """
    chunks = list(plan(params))
    shots = sum(chunk.count for chunk in chunks)
    workers = min(len(os.sched_getaffinity(0)), len(chunks))
    runs = ", ".join(f"{run}: {count:,}" for run, count in params.runs.items())
    print(
        f"simulate: {shots:,} shots (runs {runs}) into {len(chunks)} files, {shots * BYTES_PER_SHOT / 1e9:.1f} GB in "
        f"{out}; seed {params.seed}, {workers} processes",
        flush=True,
    )
    require_space(out, shots * BYTES_PER_SHOT)
    with atomic.replacing(out) as folder:
        folder.mkdir()
        labels = _write_all(params, chunks, folder, workers)
    print(_describe_labels(labels), flush=True)


def plan(params: SimulateParams) -> Iterator[Chunk]:
    """Give the files to write, run by run."""
    for number, count in params.runs.items():
        for chunk, first in enumerate(range(0, count, params.shots_per_file)):
            yield Chunk(number, chunk, first, min(params.shots_per_file, count - first))


def file_name(experiment: str, chunk: Chunk) -> str:
    """Return the file name, as those of the experiment."""
    return f"{experiment}_mlearn-r{chunk.run:03d}-c{chunk.number:04d}.h5"


def require_space(out: Path, size: int) -> None:
    """Raise UserError unless the disk of `out` has 1.1 times `size` bytes free."""
    folder = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(folder).free
    if free < 1.1 * size:
        raise UserError(
            f"{out}: needs {1.1 * size / 1e9:.2f} GB, {free / 1e9:.2f} GB are free; make room or lower "
            "simulate.lasing_shots in params.yaml"
        )


def write_chunk(params: SimulateParams, chunk: Chunk, folder: Path) -> Counter[int]:
    """Write one file and return how often each label occurs in it."""
    labels: Counter[int] = Counter()
    with creating(folder / file_name(params.experiment, chunk)) as file:
        for done in range(0, chunk.count, BLOCK):
            count = min(BLOCK, chunk.count - done)
            rows = simulator.simulate_shots(params, chunk.run, chunk.first + done, count)
            for name, values in rows.items():
                if name not in file:
                    create_rows(file, name, chunk.count, values.shape[1:], values.dtype)
                file[name][done : done + count] = values
            labels.update(rows[PEAKS_LABEL].tolist())
            _count_shots(count)
    return labels


def _write_all(params: SimulateParams, chunks: list[Chunk], folder: Path, workers: int) -> Counter[tuple[int, int]]:
    """Write every file, one process a core, and return how often each (run, label) occurs."""
    context = multiprocessing.get_context("spawn")
    made = context.Value("q", 0)
    labels: Counter[tuple[int, int]] = Counter()
    with (
        progress.counting("shots", sum(chunk.count for chunk in chunks)) as advance,
        ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(made,)) as pool,
    ):
        futures: dict[Future[Counter[int]], Chunk] = {pool.submit(write_chunk, params, c, folder): c for c in chunks}
        waiting, shown = set(futures), 0
        try:
            while waiting:
                finished, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                reached = made.value
                advance(reached - shown)
                shown = reached
                for future in finished:
                    labels.update({(futures[future].run, label): n for label, n in future.result().items()})
        except BrokenProcessPool:
            raise UserError(
                "simulate: a worker process was killed; see that memory (0.6 GB a process) and disk suffice, try again"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
    return labels


def _start_worker(made: Any) -> None:
    """Take the shared count, and follow the parent."""
    global _made
    _made = made
    end_with_parent()


def _count_shots(count: int) -> None:
    if _made is not None:
        with _made.get_lock():
            _made.value += count


def _describe_labels(labels: Counter[tuple[int, int]]) -> str:
    """Return one line a run: how many shots have each label."""
    lines = ["simulate: labels by run"]
    for number in sorted({run for run, _ in labels}):
        total = sum(n for (run, _), n in labels.items() if run == number)
        parts = [f"{name} {labels[number, label] / total:.1%}" for label, name in enumerate(PEAK_CLASSES)]
        lines.append(f"  run {number}: {', '.join(parts)}; no label {labels[number, -1] / total:.1%}")
    return "\n".join(lines)
