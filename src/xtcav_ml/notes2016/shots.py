"""experiment NAME --data: the images on which an experiment of the notes trains -> train.h5 and validation.h5."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from xtcav_ml.config.base import load_section
from xtcav_ml.config.compare import load_compare
from xtcav_ml.config.data import DataParams
from xtcav_ml.config.prepare import BlockMean, Pixels, PrepareParams
from xtcav_ml.data.prepared import SHOT_COLUMNS, PreparedFile
from xtcav_ml.data.prepared_writing import write_prepared, write_whole
from xtcav_ml.data.shards import FrameBlock
from xtcav_ml.notes2016 import experiments, line_images
from xtcav_ml.notes2016.experiments import Signal
from xtcav_ml.pipeline import prepare as prepare_stage
from xtcav_ml.pipeline import simulate as simulate_stage
from xtcav_ml.pipeline.frames import Advance, Make, Task, make_shard
from xtcav_ml.science import selection
from xtcav_ml.science.images import Preprocessing
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console, counting

IMAGES_AT_ONCE = 8
"""Images made at a time, 16 MB of the largest. Last bits of the mean pixel depend on it, images do not."""


def write_data(name: str) -> None:
    """Write the data of experiment `name` into a folder that appears whole or not at all.

    Raises UserError if it uses another's, if the disk has no room, or if there are too few shots of a class.
    """
    experiment, out = experiments.load_experiment(name), experiments.data_folder(name)
    if experiment.data_of is not None:
        raise UserError(
            f"{name}: no data of its own (found data_of: {experiment.data_of}, expected signal or simulate). Fix: write those "
            f"of {experiment.data_of} instead"
        )
    if experiment.signal is not None:
        _write_images(experiment.signal, out)
        return
    simulate, prepare = experiments.shot_params(name)
    if experiment.raw is not None:
        _write_splits(name, experiment.raw, prepare)
        return
    raw, frame_shape = out.with_name(f"{out.name}.raw"), load_section("data", DataParams).frame_shape
    try:
        simulate_stage.simulate_files(simulate, raw)
        data = DataParams(raw=str(raw), bad_files="fail", frame_shape=frame_shape)
        _prepare_whole(data, prepare, out, ("train", "validation"), make_and_remove)  # the notes had no test set
    finally:
        shutil.rmtree(raw, ignore_errors=True)  # they can be simulated again at any time


def _write_splits(name: str, raw: str, prepare: PrepareParams) -> None:
    """Write the data of an experiment on real shots for each of compare.seeds, whose folds hold out other groups of shots."""
    experiments.require_raw(name)
    for fold, seed in enumerate(load_compare().seeds):
        own = prepare.model_copy(update={"split": prepare.split.model_copy(update={"fold": fold})})
        data = DataParams(raw=raw, bad_files="fail", frame_shape=None)
        _prepare_whole(data, own, experiments.data_folder(name, seed), selection.SPLITS)


def make_and_remove(tasks: Sequence[Task], advance: Advance) -> None:
    """Write the shards of all tasks, and remove each raw file after its shard: together they would take twice the disk.

    Raises as `make_shard`.
    """
    for task in tasks:
        make_shard(task, advance)
        task.raw.unlink()


def _prepare_whole(
    data: DataParams,
    prepare: PrepareParams,
    out: Path,
    splits: Sequence[str],
    make: Make = prepare_stage.make_here,
) -> None:
    """Prepare sets into a folder, each as a file that holds all itself."""
    apart = out.with_name(f"{out.name}.shards")
    try:
        names = prepare_stage.prepare_files(data, prepare, apart, make=make)
        with atomic.replacing(out) as folder:
            folder.mkdir()
            for split in splits:
                with PreparedFile(apart / f"{split}.h5") as index:
                    write_whole(folder / f"{split}.h5", index, names)
    finally:
        shutil.rmtree(apart, ignore_errors=True)


def _write_images(signal: Signal, out: Path) -> None:
    """Write images of lines and noise into folder `out`, a few in memory at a time."""
    images = signal.train + signal.validation
    size = images * signal.size**2 * 2
    console().print(f"experiment: {images:,} images of {signal.size} x {signal.size}, {size / 1e9:.2f} GB in {out}")
    simulate_stage.require_space(out, size)
    spec = signal_spec(signal)
    splits = {"train": range(signal.train), "validation": range(signal.train, images)}
    with atomic.replacing(out) as folder, counting("images", images) as advance:
        folder.mkdir()
        for split, numbers in splits.items():
            index = np.array(numbers)
            columns = dict.fromkeys(SHOT_COLUMNS, index) | {"run": np.zeros_like(index), "signal": index % 2}
            source = (["signals"], np.zeros_like(index), index)
            write_prepared(folder / f"{split}.h5", spec, columns, source, _blocks(signal, numbers, advance))


def signal_spec(signal: Signal) -> LearningSpec:
    """Return what is learned from the images of `signal`."""
    # blocks of one pixel change nothing: a prepared file has at least one step
    steps = (BlockMean(step="block_mean", size=1),)
    preprocessing = Preprocessing(steps, Pixels(dtype="int16", quantum=1.0), (signal.size, signal.size), dark=None)
    return LearningSpec("signal", line_images.SIGNAL_CLASSES, (), (), preprocessing)


def _blocks(signal: Signal, numbers: range, advance: Callable[[int], None]) -> Iterator[FrameBlock]:
    for first in range(numbers.start, numbers.stop, IMAGES_AT_ONCE):
        count = min(IMAGES_AT_ONCE, numbers.stop - first)
        images = line_images.draw_images(signal, first, count)
        yield FrameBlock.of(images, np.zeros(count, np.int64), images.mean(axis=(1, 2)))
        advance(count)
