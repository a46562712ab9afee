"""prepare: raw shot files -> train.h5, validation.h5 and test.h5, streamed, so that memory does not grow with the raw set."""

import collections
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xtcav_ml import atomic, images, raw, selection
from xtcav_ml.h5io.prepared import SHOT_COLUMNS, Meaning, write_prepared
from xtcav_ml.h5io.rawfile import read_frames
from xtcav_ml.params.data import DataParams
from xtcav_ml.params.prepare import PrepareParams
from xtcav_ml.progress import console, counting

MOST_WORKERS = 8
"""Threads: reading is then the limit, and each holds a block and its share of HDF5's cache, about 100 MB."""

BLOCK = 16
"""Frames in hand at once in each thread: 13 MB as int16, about 60 MB with its float copies."""


def run(data: DataParams, prepare: PrepareParams, out: Path) -> None:
    """Write the three prepared files into folder `out`, which appears whole or not at all.

    Raises UserError if the raw files are not fit for it.
    """
    raw_set = raw.open_set(data, prepare)
    chosen = selection.select(raw_set.columns, prepare)
    dark = None if prepare.dark_run is None else mean_frame(raw_set, raw.require_run(raw_set, prepare.dark_run))
    meaning = Meaning(prepare.label, prepare.classes, prepare.images, data.frame_shape, dark)
    shape = images.output_shape(data.frame_shape, prepare.images)
    steps = ", ".join(step.step for step in prepare.images)
    console().print(f"prepare: {data.raw} -> {out}, {shape[0]} x {shape[1]} {prepare.dtype} after {steps}")
    total = sum(len(rows) for rows in chosen.splits.values())
    with atomic.replacing(out) as folder, counting("frames", total) as advance:
        folder.mkdir()
        for name, rows in chosen.splits.items():
            write_prepared(
                folder / f"{name}.h5",
                meaning,
                {"label": raw_set.columns[prepare.label][rows]}
                | {column: raw_set.columns[column][rows] for column in SHOT_COLUMNS},
                ([file.name for file in raw_set.files], raw_set.file[rows], raw_set.row[rows]),
                prepared_blocks(raw_set, rows, prepare, dark, advance),
                frame_shape=shape,
                dtype=prepare.dtype,
            )
    _report(chosen, raw_set, prepare)


def mean_frame(raw_set: raw.RawSet, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the mean (rows, columns) of the frames at `rows` of the table, ADU."""
    total: NDArray[np.float64] | None = None
    for block in _blocks(raw_set, rows):
        frames = read_frames(raw_set.files[raw_set.file[block[0]]], raw_set.row[block])
        summed = frames.sum(axis=0, dtype=np.float64)
        total = summed if total is None else total + summed
    assert total is not None  # require_run found rows
    return (total / len(rows)).astype(np.float32)


def prepared_blocks(
    raw_set: raw.RawSet,
    rows: NDArray[np.int64],
    prepare: PrepareParams,
    dark: NDArray[np.float32] | None,
    advance: Callable[[int], None],
) -> Iterator[NDArray[np.float32]]:
    """Yield prepared frames (n, rows, columns) in the order of `rows`, made by all cores a few blocks ahead."""

    def make(block: NDArray[np.int64]) -> NDArray[np.float32]:
        # HDF5 wants rising row numbers, the table's order is that of the event keys
        rising = np.argsort(raw_set.row[block], kind="stable")
        frames = read_frames(raw_set.files[raw_set.file[block[0]]], raw_set.row[block][rising])
        return images.apply(frames[np.argsort(rising, kind="stable")], prepare.images, dark)

    workers = min(len(os.sched_getaffinity(0)), MOST_WORKERS)
    waiting: collections.deque[Future[NDArray[np.float32]]] = collections.deque()
    with ThreadPoolExecutor(workers) as pool:
        for block in _blocks(raw_set, rows):
            waiting.append(pool.submit(make, block))
            if len(waiting) > workers:
                yield _done(waiting, advance)
        while waiting:
            yield _done(waiting, advance)


def _done(
    waiting: "collections.deque[Future[NDArray[np.float32]]]", advance: Callable[[int], None]
) -> NDArray[np.float32]:
    frames = waiting.popleft().result()
    advance(len(frames))
    return frames


def _blocks(raw_set: raw.RawSet, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut `rows` into runs of at most BLOCK that lie in one file."""
    edges = np.flatnonzero(np.diff(raw_set.file[rows])) + 1
    for part in np.split(rows, edges):
        yield from (part[first : first + BLOCK] for first in range(0, len(part), BLOCK))


def _report(chosen: selection.Selection, raw_set: raw.RawSet, prepare: PrepareParams) -> None:
    screen = console()
    for name, rows in chosen.splits.items():
        counts = np.bincount(raw_set.columns[prepare.label][rows].astype(np.int64), minlength=len(prepare.classes))
        mix = ", ".join(f"{label} {count}" for label, count in zip(prepare.classes, counts, strict=True))
        screen.print(f"  {name:<10} {len(rows):>6,} shots: {mix}")
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in chosen.dropped.items() if count)
    screen.print(f"  dropped    {sum(chosen.dropped.values()):>6,} shots: {dropped or 'none'}")
