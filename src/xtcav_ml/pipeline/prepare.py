"""prepare: raw shot files -> a shard of prepared frames each, and the sets train.h5, validation.h5 and test.h5 of their shots.

A shard depends on its own raw file and the dark frame alone; what a set is depends on all. So another raw file costs its own
shard, and another split none. Frames are streamed: memory does not grow with the raw set.
"""

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.data import DataParams
from xtcav_ml.config.prepare import PrepareParams
from xtcav_ml.config.schema import REDRAWN, TRUE_PULSES
from xtcav_ml.config.simulate import SimulateParams
from xtcav_ml.data import raw_files, shards
from xtcav_ml.data.prepared_writing import write_index
from xtcav_ml.data.raw_files import RawSet
from xtcav_ml.data.shards import CLIPPED, SATURATED, SIGNAL, Shard
from xtcav_ml.pipeline.frames import Advance, Make, Task, dark_frame, make_shard
from xtcav_ml.pipeline.kept import Kept
from xtcav_ml.science import images, selection
from xtcav_ml.science.selection import Selection
from xtcav_ml.science.simulation import simulator
from xtcav_ml.science.spec import LearningSpec, require_inputs
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console, counting

REDRAWS = 2**16  # waveforms of a simulated test set that are drawn again: its Bayes accuracy is known to 0.1 points
REDRAWS_OF_SHOT = (32, 128)
"""Fewest and most of one shot."""

HOT_THRESHOLD = 8.0  # robust s.d. off the median of a hot pixel, unless a mend_hot_pixels step sets it


def prepare_files(
    data: DataParams,
    prepare: PrepareParams,
    out: Path,
    simulation: SimulateParams | None = None,
    kept: Path | None = None,
    make: Make | None = None,
) -> Sequence[str]:
    """Write the three sets and their shards into folder `out`, which appears whole or not at all; return the raw files' names.

    `simulation` is what made the files, if they are simulated. Shards that a folder `kept` has of an earlier call are not made
    again. `make` makes the others, by default here, one after the other. Raises UserError if the raw files are not fit for it
    or the disk is full.
    """
    require_inputs(prepare, data.raw_shape)
    raw_set = raw_files.open_set(data, prepare)
    selected = selection.select(raw_set.columns, prepare)
    if prepare.dark_run is not None:
        raw_files.require_run(raw_set, prepare.dark_run)
    with atomic.replacing(out) as folder:
        folder.mkdir()
        keep = Kept(kept or folder / ".made")
        dark_file = _dark_file(raw_set, data, prepare, keep)
        dark = shards.read_dark(dark_file)
        spec = LearningSpec.of(prepare, data.raw_shape, dark)
        steps = ", ".join(step.step for step in prepare.images)
        after = f" {prepare.pixels.dtype} after {steps}" if spec.has_frames else ", no frames"
        console().print(f"prepare: {data.raw} -> {out}, {spec.size}{after}")
        if raw_set.listing.note:
            console().print(f"  {raw_set.listing.note}")
        tasks = _tasks(raw_set, prepare, spec, dark_file, keep) if spec.has_frames else {}
        test = _rows_of(raw_set.columns, selected.splits["test"])
        redrawn = {} if simulation is None else _redrawn(test, raw_set.file[selected.splits["test"]], simulation, keep)
        made = _made(tasks, make or make_here, keep)
        of_frames = {}
        for split, members in selected.splits.items():
            table = _rows_of(raw_set.columns, members) | (redrawn if split == "test" else {})
            sources = (raw_set.names, raw_set.file[members], raw_set.row[members])
            of_frames[split] = write_index(folder / f"{split}.h5", spec, table, sources, made, dark_file)
        _place(dark_file, folder / shards.DARK)
        for number, shard in made.items():
            _place(shard.path, folder / shards.SHARDS / raw_set.names[number])
        shutil.rmtree(folder / ".made", ignore_errors=True)
    _report(selected, raw_set.columns, prepare, of_frames)
    _report_dark(dark, prepare)
    return raw_set.names


def make_here(tasks: Sequence[Task], advance: Advance) -> None:
    """Write the shards of all tasks, one after the other. Raises as `make_shard`."""
    for task in tasks:
        make_shard(task, advance)


def _dark_file(raw_set: RawSet, data: DataParams, prepare: PrepareParams, keep: Kept) -> Path:
    """Return the file of the dark frame, which says if there is none."""
    if prepare.dark_run is None:
        rows, deciding = None, list[object]()
    else:
        rows = raw_files.require_run(raw_set, prepare.dark_run)
        numbers = np.unique(raw_set.file[rows])
        deciding = [_source(raw_set, int(number), rows[raw_set.file[rows] == number]) for number in numbers]
    path = keep.place("dark", data.raw_shape, deciding)
    with contextlib.suppress(UserError):
        shards.read_dark(path)
        return path
    shards.write_dark(path, None if rows is None else dark_frame(raw_set, rows, data.raw_shape))
    return path


def _tasks(raw_set: RawSet, prepare: PrepareParams, spec: LearningSpec, dark: Path, keep: Kept) -> dict[int, Task]:
    """Return the task of each file that has usable shots, by its number: a shard has all of these, whatever the split."""
    usable = np.sort(selection.usable(raw_set.columns, prepare)[0])
    steps = replace(spec.preprocessing, dark=None)
    meaning = [[step.model_dump() for step in steps.steps], steps.pixels.model_dump(), prepare.watch.saturation]
    tasks = {}
    for number in np.unique(raw_set.file[usable]).tolist():
        members = usable[raw_set.file[usable] == number]
        shard = keep.place("shard", _source(raw_set, number, members), meaning, dark.name)
        place = (raw_set.files[number], raw_set.states[number], raw_set.folder, raw_set.pieces[number])
        tasks[number] = Task(*place, raw_set.row[members], steps, dark, prepare.watch.saturation, shard)
    return tasks


def _source(raw_set: RawSet, number: int, members: NDArray[np.int64]) -> list[object]:
    """Return what decides the frames of a raw file at rows `members` of the table: the file, what it refers to, its rows."""
    parts = sorted((str(path), raw_set.folder.states[path]) for path in raw_set.parts[number])
    return [
        str(raw_set.files[number]),
        raw_set.states[number],
        parts,
        raw_set.folder.layout.model_dump(),
        raw_set.row[members].tolist(),
    ]


def _made(tasks: Mapping[int, Task], make: Make, keep: Kept) -> dict[int, Shard]:
    """Return the shards, of which those that are not kept are made now."""
    keep.prune()
    found = {number: shards.read_shard(task.shard) for number, task in tasks.items()}
    missing = [task for number, task in tasks.items() if found[number] is None]
    if known := sum(len(shard.rows) for shard in found.values() if shard is not None):
        console().print(f"  {known:,} frames of {len(tasks) - len(missing):,} files kept of an earlier prepare")
    with counting("frames", sum(len(task.rows) for task in missing)) as advance:
        make(missing, advance)
    return {number: found[number] or _require(task.shard) for number, task in tasks.items()}


def _require(path: Path) -> Shard:
    shard = shards.read_shard(path)
    if shard is None:
        raise UserError(
            f"{path}: damaged (found other bytes than were written, expected the same). Fix: check the disk, then run it again"
        )
    return shard


def _place(kept: Path, target: Path) -> None:
    """Give a kept file a second name; where the file system has no such links, its only one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(kept, target)
    except OSError:
        shutil.move(kept, target)


def _rows_of(columns: Mapping[str, NDArray[Any]], rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    return {name: values[rows] for name, values in columns.items()}


def _redrawn(
    columns: Mapping[str, NDArray[Any]], files: NDArray[np.int64], simulation: SimulateParams, keep: Kept
) -> dict[str, NDArray[np.int16]]:
    """Return `redrawn_labels`, kept by raw file: `files` are the number of each shot's."""
    if not columns.keys() >= set(TRUE_PULSES):
        return {}
    redrawn = np.zeros((len(files), len(REDRAWN)), np.int16)
    count, missing = draws_of_shot(len(files)), dict[Path, NDArray[np.int64]]()
    for number in np.unique(files):
        members = np.flatnonzero(files == number)
        given = [columns[name][members].tolist() for name in (*TRUE_PULSES, "run", "run.index")]
        path = keep.place("redrawn", simulation.model_dump(), count, given)
        found = shards.read_columns(path)
        if found is None:
            missing[path] = members
        else:
            redrawn[members] = np.stack([found[name] for name in REDRAWN], axis=1)
    with counting("labels drawn again", sum(map(len, missing.values()))) as advance:
        for path, members in missing.items():
            made = redrawn_labels(_rows_of(columns, members), simulation, count, advance)
            shards.write_columns(path, made)
            redrawn[members] = np.stack(list(made.values()), axis=1)
    return dict(zip(REDRAWN, redrawn.T, strict=True))


def draws_of_shot(shots: int) -> int:
    """Return how often the labels of each of so many shots are drawn again."""
    return int(np.clip(REDRAWS // max(shots, 1), *REDRAWS_OF_SHOT))


def redrawn_labels(
    columns: Mapping[str, NDArray[np.generic]],
    simulation: SimulateParams,
    count: int | None = None,
    advance: Advance = lambda _: None,
) -> dict[str, NDArray[np.int16]]:
    """Return the columns REDRAWN of simulated shots, `count` draws each: none if these have not what waveforms depend on.

    A shot of which that is not finite has no draws. The stored labels and all else stay as they are.
    """
    if not columns.keys() >= set(TRUE_PULSES):
        return {}
    given = np.stack([columns[name].astype(np.float64) for name in TRUE_PULSES], axis=1)
    shots = np.stack([columns["run"], columns["run.index"]], axis=1).tolist()
    count = count or draws_of_shot(len(shots))
    redrawn = np.zeros((len(shots), len(REDRAWN)), np.int16)
    for row in np.flatnonzero(np.isfinite(given).all(axis=1)):
        *energy, l3_energy = given[row]
        redrawn[row] = simulator.redraw_labels(simulation, tuple(shots[row]), np.array(energy), l3_energy, count)
        advance(1)
    return dict(zip(REDRAWN, redrawn.T, strict=True))


def _report(
    selected: Selection,
    columns: Mapping[str, NDArray[Any]],
    prepare: PrepareParams,
    of_frames: Mapping[str, Mapping[str, NDArray[Any]]],
) -> None:
    screen, framed = console(), bool(prepare.images)
    for split, rows in selected.splits.items():
        parts = []
        if prepare.label is not None:
            by_class = np.bincount(columns[prepare.label][rows].astype(np.int64), minlength=len(prepare.classes))
            parts += [f"{label} {count}" for label, count in zip(prepare.classes, by_class, strict=True)]
        parts += [f"{number} {np.isfinite(columns[number][rows]).sum():,}" for number in prepare.regression]
        saturated = (of_frames[split][SATURATED] > prepare.watch.saturated_pixels).sum()
        empty = (of_frames[split][SIGNAL] < prepare.watch.empty_signal).sum()
        watched = f"; {saturated:,} saturated, {empty:,} empty" if framed else ""
        if clipped := of_frames[split][CLIPPED].sum():
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
