"""experiment NAME --data: the images that an experiment of the notes learns from -> train.h5 and validation.h5."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from xtcav_ml.config.base import load_section
from xtcav_ml.config.data import DataParams
from xtcav_ml.config.prepare import BlockMean, Pixels, PrepareParams
from xtcav_ml.config.simulate import SimulateParams
from xtcav_ml.data.prepared import SHOT_COLUMNS, FrameBlock, write_prepared
from xtcav_ml.notes2016 import experiments, line_images
from xtcav_ml.notes2016.experiments import Signal
from xtcav_ml.pipeline import prepare as prepare_stage
from xtcav_ml.pipeline import simulate as simulate_stage
from xtcav_ml.science.images import Preprocessing
from xtcav_ml.science.spec import Meaning
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console, counting

IMAGES_AT_ONCE = 8
"""Images made at a time, 16 MB of the largest. Last bits of the mean pixel depend on it, images do not."""


def write_data(name: str) -> None:
    """Write the data of experiment `name`. Raises UserError if it uses another's, or as the two functions below."""
    chosen, out = experiments.load_experiment(name), experiments.data_folder(name)
    if chosen.data_of is not None:
        raise UserError(f"{name}: must have data of its own, it uses those of {chosen.data_of}; make them instead")
    if chosen.signal is not None:
        from_signal(chosen.signal, out)
    else:
        simulate, prepare = experiments.shot_params(name)
        from_shots(simulate, prepare, load_section("data", DataParams).frame_shape, out)


def from_signal(signal: Signal, out: Path) -> None:
    """Write images of lines and noise into folder `out`, which appears whole or not at all, a few in memory at a time.

    Raises UserError if the disk is full.
    """
    parts = {"train": range(signal.train), "validation": range(signal.train, signal.train + signal.validation)}
    images = signal.train + signal.validation
    console().print(
        f"experiment: {images:,} images of {signal.size} x {signal.size}, {images * signal.size**2 * 2 / 1e9:.2f} GB in {out}"
    )
    simulate_stage.require_space(out, images * signal.size**2 * 2)
    with atomic.replacing(out) as folder, counting("images", images) as advance:
        folder.mkdir()
        for name, numbers in parts.items():
            _write(signal, numbers, folder / f"{name}.h5", advance)


def _write(signal: Signal, numbers: range, path: Path, advance: Callable[[int], None]) -> None:
    # blocks of one pixel change nothing: a prepared file has at least one step
    steps = (BlockMean(step="block_mean", size=1),)
    preprocessing = Preprocessing(steps, Pixels(dtype="int16", quantum=1.0), (signal.size, signal.size), dark=None)
    index = np.array(numbers)
    columns = dict.fromkeys(SHOT_COLUMNS, index) | {"run": np.zeros_like(index), "signal": index % 2}
    write_prepared(
        path,
        Meaning("signal", line_images.SIGNAL_CLASSES, (), (), preprocessing),
        columns,
        (["signals"], np.zeros_like(index), index),
        _blocks(signal, numbers, advance),
    )


def _blocks(signal: Signal, numbers: range, advance: Callable[[int], None]) -> Iterator[FrameBlock]:
    for first in range(numbers.start, numbers.stop, IMAGES_AT_ONCE):
        count = min(IMAGES_AT_ONCE, numbers.stop - first)
        made, _ = line_images.images(signal, first, count)
        yield FrameBlock.of(made, np.zeros(count, np.int64), made.mean(axis=(1, 2)))
        advance(count)


def from_shots(simulate: SimulateParams, prepare: PrepareParams, frame_shape: tuple[int, int], out: Path) -> None:
    """Simulate shots, prepare them into folder `out`, and remove the raw files: they can be made again at any time.

    Raises UserError if the disk has no room for raw and prepared frames, or there are too few shots of a class.
    """
    raw = out.with_name(f"{out.name}.raw")
    try:
        simulate_stage.simulate_files(simulate, raw)
        prepare_stage.prepare_files(DataParams(raw=str(raw), bad_files="fail", frame_shape=frame_shape), prepare, out)
        (out / "test.h5").unlink()  # the notes had none
    finally:
        shutil.rmtree(raw, ignore_errors=True)
