"""The frames of one raw file -> its shard, streamed: a task of its own, whichever process does it."""

import functools
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.data import raw_files, shards
from xtcav_ml.data.hdf5 import file_state
from xtcav_ml.data.raw_dataset import Folder
from xtcav_ml.data.raw_file import Piece
from xtcav_ml.data.raw_frames import RawFrames
from xtcav_ml.data.shards import FrameBlock
from xtcav_ml.science import images
from xtcav_ml.science.images import Preprocessing

MOST_THREADS = 8  # reading is then the limit; each holds about 70 MB, a block and a share of HDF5's cache
FRAMES_AT_ONCE = 16  # frames in a block, which one thread prepares

Advance = Callable[[int], None]
"""Is told how many frames were just prepared."""


@dataclass(frozen=True)
class Task:
    """All that decides the shard of a raw file, and where it is written. It can be sent to another process."""

    raw: Path
    state: tuple[int, ...]  # `hdf5.file_state` of the raw file
    folder: Folder
    piece: Piece | None
    rows: NDArray[np.int64]  # of the raw file, ascending
    preprocessing: Preprocessing  # without its dark frame, which is in the file `dark`
    dark: Path
    saturation: int  # ADU
    shard: Path


Make = Callable[[Sequence[Task], Advance], None]
"""Writes the shards of all tasks."""


def make_shard(task: Task, advance: Advance, threads: int | None = None) -> None:
    """Write a shard, which appears whole or not at all; by default with a thread a processor.

    Raises UserError if the raw file has changed, a frame cannot be read, or the disk is full.
    """
    preprocessing = replace(task.preprocessing, dark=_dark(task.dark, file_state(task.dark)))
    count = threads or min(len(os.sched_getaffinity(0)), MOST_THREADS)
    with RawFrames(task.raw, task.state, task.folder, task.piece) as frames:
        blocks = prepared_blocks(frames, task.rows, preprocessing, task.saturation, advance, count)
        shards.write_shard(task.shard, task.rows, preprocessing.shape, preprocessing.pixels.dtype, blocks)


@functools.lru_cache(maxsize=1)
def _dark(path: Path, state: tuple[int, ...]) -> images.Dark | None:
    """Return the dark frame of a file in this `state`: all shards have the same one."""
    return shards.read_dark(path)


def prepared_blocks(
    frames: RawFrames,
    rows: NDArray[np.int64],
    preprocessing: Preprocessing,
    saturation: int,
    advance: Advance,
    threads: int,
) -> Iterator[FrameBlock]:
    """Yield the prepared frames at `rows` of a raw file, in this order; threads prepare a few blocks ahead."""

    def prepared(block: NDArray[np.int64]) -> FrameBlock:
        stored = np.empty((len(block), *preprocessing.shape), dtype=preprocessing.pixels.dtype)
        saturated, clipped = np.zeros((2, len(block)), np.int64)
        signal = np.empty(len(block))
        for i in range(len(block)):  # one by one: a frame stays in the processor's cache through all steps
            frame = frames.read(block[i : i + 1])
            preprocessing.into(stored[i : i + 1], frame)
            saturated[i] = images.saturated_pixels(frame, saturation)[0]
            signal[i] = images.signal(frame, preprocessing.dark)[0]
            clipped[i] = preprocessing.clipped(stored[i])
        return FrameBlock.of(stored, saturated, signal, clipped)

    waiting: deque[Future[FrameBlock]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for first in range(0, len(rows), FRAMES_AT_ONCE):
                waiting.append(pool.submit(prepared, rows[first : first + FRAMES_AT_ONCE]))
                if len(waiting) > 2 * threads:
                    yield _done(waiting, advance)
            while waiting:
                yield _done(waiting, advance)
        finally:
            pool.shutdown(cancel_futures=True)


def _done(waiting: deque[Future[FrameBlock]], advance: Advance) -> FrameBlock:
    block = waiting.popleft().result()
    advance(len(block.images))
    return block


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
