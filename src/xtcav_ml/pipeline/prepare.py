"""prepare: raw shot files -> train.h5, validation.h5 and test.h5, streamed, so that memory does not grow with the raw set."""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.data import DataParams
from xtcav_ml.config.prepare import PrepareParams, Watch
from xtcav_ml.config.schema import NO_FRAME, REDRAWN, TRUE_PULSES
from xtcav_ml.config.simulate import SimulateParams
from xtcav_ml.data import raw_files
from xtcav_ml.data.prepared import SATURATED, SIGNAL, FrameBlock, write_prepared
from xtcav_ml.science import images, selection
from xtcav_ml.science.simulation import simulator
from xtcav_ml.science.spec import LearningSpec, require_inputs
from xtcav_ml.system import atomic
from xtcav_ml.system.progress import console, counting

MOST_THREADS = 8  # reading is then the limit; each holds about 70 MB, a block and a share of HDF5's cache
FRAMES_AT_ONCE = 16  # frames in a block, which one thread prepares
REDRAWS = 2**16  # waveforms of a simulated test set that are drawn again: its Bayes accuracy is known to 0.1 points
REDRAWS_OF_SHOT = (32, 128)
"""Fewest and most of one shot."""

HOT_THRESHOLD = 8.0  # robust s.d. off the median of a hot pixel, unless a mend_hot_pixels step sets it


def prepare_files(
    data: DataParams, prepare: PrepareParams, out: Path, simulation: SimulateParams | None = None
) -> None:
    """Write the three prepared files into folder `out`, which appears whole or not at all.

    `simulation` is what made the files, if they are simulated. Raises UserError if the raw files are not fit for it or the
    disk is full.
    """
    require_inputs(prepare, data.raw_shape)
    raw_set = raw_files.open_set(data, prepare)
    selected = selection.select(raw_set.columns, prepare)
    dark = None
    if prepare.dark_run is not None:
        dark = dark_frame(raw_set, raw_files.require_run(raw_set, prepare.dark_run), data.raw_shape)
    spec = LearningSpec.of(prepare, data.raw_shape, dark)
    steps = ", ".join(step.step for step in prepare.images)
    after = f" {prepare.pixels.dtype} after {steps}" if spec.has_frames else ", no frames"
    console().print(f"prepare: {data.raw} -> {out}, {spec.size}{after}")
    if raw_set.listing.note:
        console().print(f"  {raw_set.listing.note}")
    counts: dict[str, Counter[str]] = {}
    tables = {
        split: {name: values[members] for name, values in raw_set.columns.items()}
        for split, members in selected.splits.items()
    }
    if simulation is not None:
        tables["test"] |= redrawn_labels(tables["test"], simulation)
    with atomic.replacing(out) as folder, counting("frames", sum(map(len, selected.splits.values()))) as advance:
        folder.mkdir()
        for split, members in selected.splits.items():
            counts[split] = Counter()
            blocks = prepared_blocks(raw_set, members, spec.preprocessing, prepare.watch.saturation, advance)
            write_prepared(
                folder / f"{split}.h5",
                spec,
                tables[split],
                (raw_set.names, raw_set.file[members], raw_set.row[members]),
                _watched(blocks, prepare.watch, spec.preprocessing, counts[split]),
            )
    _report(selected, raw_set, prepare, counts)
    _report_dark(dark, prepare)


def redrawn_labels(
    columns: Mapping[str, NDArray[np.generic]], simulation: SimulateParams
) -> dict[str, NDArray[np.int16]]:
    """Return the columns REDRAWN of simulated shots: none if these have not what waveforms depend on.

    A shot of which that is not finite has no draws. The stored labels and all else stay as they are.
    """
    if not columns.keys() >= set(TRUE_PULSES):
        return {}
    given = np.stack([columns[name].astype(np.float64) for name in TRUE_PULSES], axis=1)
    shots = np.stack([columns["run"], columns["run.index"]], axis=1).tolist()
    count = int(np.clip(REDRAWS // max(len(shots), 1), *REDRAWS_OF_SHOT))
    redrawn = np.zeros((len(shots), len(REDRAWN)), np.int16)
    with counting("labels drawn again", len(shots)) as advance:
        for row in np.flatnonzero(np.isfinite(given).all(axis=1)):
            *energy, l3_energy = given[row]
            redrawn[row] = simulator.redraw_labels(simulation, tuple(shots[row]), np.array(energy), l3_energy, count)
            advance(1)
    return dict(zip(REDRAWN, redrawn.T, strict=True))


def _watched(
    blocks: Iterable[FrameBlock], watch: Watch, preprocessing: images.Preprocessing, counts: Counter[str]
) -> Iterator[FrameBlock]:
    """Yield the blocks, and count suspicious frames, and pixels that the stored type cut off."""
    for block in blocks:
        counts["saturated"] += int((block.columns[SATURATED] > watch.saturated_pixels).sum())
        counts["empty"] += int((block.columns[SIGNAL] < watch.empty_signal).sum())
        counts["clipped"] += preprocessing.clipped(block.images)
        yield block


def dark_frame(raw_set: raw_files.RawSet, rows: NDArray[np.int64], frame_shape: tuple[int, int]) -> images.Dark:
    """Return mean and noise of the frames of `frame_shape` at `rows` of the table."""
    total, squares = np.zeros((2, *frame_shape))
    with raw_files.FrameReader(raw_set) as reader:
        for row in rows:
            reader.keep({int(raw_set.file[row])})
            frame = reader.read(row)[0].astype(np.float64)
            total += frame
            squares += np.square(frame, out=frame)
    return images.dark_of(len(rows), total, squares)


def prepared_blocks(
    raw_set: raw_files.RawSet,
    rows: NDArray[np.int64],
    preprocessing: images.Preprocessing,
    saturation: int,
    advance: Callable[[int], None],
) -> Iterator[FrameBlock]:
    """Yield prepared frames in the order of `rows`; threads prepare a few blocks ahead."""
    if preprocessing.raw_shape == NO_FRAME:
        yield FrameBlock.without_frames(len(rows), preprocessing.pixels.dtype)
        return

    def prepared(block: NDArray[np.int64]) -> FrameBlock:
        stored = np.empty((len(block), *preprocessing.shape), dtype=preprocessing.pixels.dtype)
        saturated, signal = np.empty(len(block), np.int64), np.empty(len(block))
        for i, row in enumerate(block):  # one by one: a frame stays in the processor's cache through all steps
            frame = reader.read(row)
            preprocessing.into(stored[i : i + 1], frame)
            saturated[i] = images.saturated_pixels(frame, saturation)[0]
            signal[i] = images.signal(frame, preprocessing.dark)[0]
        return FrameBlock.of(stored, saturated, signal)

    threads = min(len(os.sched_getaffinity(0)), MOST_THREADS)
    waiting: deque[tuple[int, Future[FrameBlock]]] = deque()
    with raw_files.FrameReader(raw_set) as reader, ThreadPoolExecutor(threads) as pool:
        for block in _blocks(raw_set, rows):
            waiting.append((int(raw_set.file[block[0]]), pool.submit(prepared, block)))
            if len(waiting) > 2 * threads:
                yield _done(waiting, advance)
                reader.keep({file for file, _ in waiting})
        while waiting:
            yield _done(waiting, advance)


def _done(waiting: deque[tuple[int, Future[FrameBlock]]], advance: Callable[[int], None]) -> FrameBlock:
    block = waiting.popleft()[1].result()
    advance(len(block.images))
    return block


def _blocks(raw_set: raw_files.RawSet, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut `rows` into blocks that lie in one file."""
    edges = np.flatnonzero(np.diff(raw_set.file[rows])) + 1
    for part in np.split(rows, edges):
        yield from (part[first : first + FRAMES_AT_ONCE] for first in range(0, len(part), FRAMES_AT_ONCE))


def _report(
    selected: selection.Selection, raw_set: raw_files.RawSet, prepare: PrepareParams, counts: Mapping[str, Counter[str]]
) -> None:
    screen, framed = console(), bool(prepare.images)
    for split, rows in selected.splits.items():
        parts = []
        if prepare.label is not None:
            by_class = np.bincount(
                raw_set.columns[prepare.label][rows].astype(np.int64), minlength=len(prepare.classes)
            )
            parts += [f"{label} {count}" for label, count in zip(prepare.classes, by_class, strict=True)]
        parts += [f"{number} {np.isfinite(raw_set.columns[number][rows]).sum():,}" for number in prepare.regression]
        watched = f"; {counts[split]['saturated']:,} saturated, {counts[split]['empty']:,} empty" if framed else ""
        if clipped := counts[split]["clipped"]:
            watched += f", {clipped:,} pixels beyond prepare.pixels.quantum x int16"
        screen.print(f"  {split:<10} {len(rows):>6,} shots: {', '.join(parts)}{watched}")
    screen.print(f"  dropped    {sum(selected.dropped.values()):>6,} shots: {selection.in_words(selected.dropped)}")


def _report_dark(dark: images.Dark | None, prepare: PrepareParams) -> None:
    if dark is not None:
        threshold = next((step.threshold for step in prepare.images if step.step == "mend_hot_pixels"), HOT_THRESHOLD)
        console().print(
            f"  dark frame of run {prepare.dark_run}: level {np.median(dark.mean):.1f} ADU, noise {np.median(dark.noise):.2f} "
            f"ADU, {dark.hot(threshold).sum():,} hot pixels (more than {threshold:g} robust s.d. off)"
        )
