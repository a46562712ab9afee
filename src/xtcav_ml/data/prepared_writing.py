"""Writing prepared files: the index of a set whose frames are in shards, or a file that holds all itself."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.schema import REDRAWN, TRUTH
from xtcav_ml.data import shards
from xtcav_ml.data.hdf5 import creating
from xtcav_ml.data.prepared import SHARD_ROW, SHOT_COLUMNS, PixelStatistics, PreparedFile, blocks_of, digest
from xtcav_ml.data.shards import CHECKSUM, SATURATED, SIGNAL, FrameBlock, Shard, write_column
from xtcav_ml.science.spec import LearningSpec


def write_prepared(
    path: Path,
    spec: LearningSpec,
    columns: Mapping[str, NDArray[np.generic]],
    sources: tuple[Sequence[str], NDArray[np.int64], NDArray[np.int64]],
    blocks: Iterable[FrameBlock],
) -> None:
    """Write one set into a file that holds all itself.

    `columns` (N,) each holds the label, numbers and features that `spec` names, SHOT_COLUMNS and maybe TRUTH and REDRAWN;
    others are left out. `sources` are the raw files' names, and each shot's file (an index of those) and row; `blocks` the
    prepared frames in the same order. Raises UserError if the disk is full.
    """
    preprocessing = spec.preprocessing
    statistics = PixelStatistics(preprocessing)
    with creating(path, sealed=True) as file:
        size = (preprocessing.shape, preprocessing.pixels.dtype, len(sources[2]))
        of_frames = shards.write_frames(file, *size, statistics.adding(blocks))
        _write_columns(file, spec, of_frames, columns, sources)
        maps = dict(zip(("pixel.mean", "pixel.sd"), statistics.maps(), strict=True))
        if (dark := preprocessing.dark) is not None:
            maps |= {"dark.mean": dark.mean, "dark.noise": dark.noise}
        for name, values in maps.items():
            checked: dict[str, Any] = {"chunks": values.shape, "fletcher32": True} if values.size else {}
            file.create_dataset(name, data=values, **checked)
        shards.leave_unsealed(file)
        _write_meaning(file, spec, sources[0])


def write_index(
    path: Path,
    spec: LearningSpec,
    columns: Mapping[str, NDArray[np.generic]],
    sources: tuple[Sequence[str], NDArray[np.int64], NDArray[np.int64]],
    made: Mapping[int, Shard],
    dark: Path,
) -> dict[str, NDArray[Any]]:
    """Write one set whose frames are in the shards `made` of the raw files, by their numbers, and its dark frame in `dark`.

    All else is as for `write_prepared`. Only files of which the set has shots count. Returns the columns (N,) of the shards for
    the set's shots.
    """
    names, file_of, rows = sources
    used, numbers = np.unique(file_of, return_inverse=True)
    own = {int(number): made[int(number)] for number in used} if spec.has_frames else {}
    places = np.zeros(len(rows), np.int64)
    block = FrameBlock.without_frames(len(rows), spec.preprocessing.pixels.dtype)
    of_frames = {name: values.copy() for name, values in block.columns.items()}
    for number, shard in own.items():
        members = np.flatnonzero(file_of == number)
        places[members] = np.searchsorted(shard.rows, rows[members])
        for name, values in of_frames.items():
            values[members] = shard.columns[name][places[members]]
    with creating(path, sealed=True) as file:
        narrow = (places.astype(np.int32), numbers.astype(np.int32), rows.astype(np.int32))
        stored = of_frames | {SATURATED: of_frames[SATURATED].astype(np.int32)}
        _write_columns(file, spec, stored, columns, ([], *narrow[1:]))
        write_column(file, SHARD_ROW, narrow[0])
        _write_meaning(file, spec, [names[number] for number in used])
        file.attrs["shards"] = json.dumps([[shard.offset, len(shard.rows)] for shard in own.values()])
        file.attrs["dark"] = digest(dark)
    return of_frames


def write_whole(path: Path, index: PreparedFile, names: Sequence[str]) -> None:
    """Write a file of the same shots that holds all itself, with the `names` of all raw files. Raises as `stored`."""
    numbers = np.array([names.index(name) for name in index.source_files], np.int64)
    files, rows = (index.column(name).astype(np.int64) for name in ("source.file", "source.row"))
    columns = {name: index.column(name) for name in index.columns}
    spec = index.spec
    columns |= {name: columns[f"target.{name}"] for name in spec.regression}
    columns |= {name: columns[f"feature.{name}"] for name in spec.features}
    columns |= {spec.label: columns["label"]} if spec.label is not None else {}
    write_prepared(path, spec, columns, (names, numbers[files], rows), _frames_of(index, files))


def _write_columns(
    file: h5py.File,
    spec: LearningSpec,
    of_frames: Mapping[str, NDArray[Any]],
    columns: Mapping[str, NDArray[np.generic]],
    sources: tuple[Sequence[str], NDArray[Any], NDArray[Any]],
) -> None:
    for name in (CHECKSUM, SATURATED, SIGNAL):
        write_column(file, name, of_frames.get(name, np.empty(0, np.uint32)))
    if spec.label is not None:
        write_column(file, "label", columns[spec.label])
    for kind, names in (("target.", spec.regression), ("feature.", spec.features), ("", SHOT_COLUMNS)):
        for name in names:
            write_column(file, kind + name, columns[name])
    for name in (name for name in (TRUTH, *REDRAWN) if name in columns):
        write_column(file, name, columns[name])
    for name, values in zip(("source.file", "source.row"), sources[1:], strict=True):
        write_column(file, name, values)


def _write_meaning(file: h5py.File, spec: LearningSpec, source_files: Sequence[str]) -> None:
    file.attrs["meaning"] = spec.to_json()
    file.attrs["source_files"] = json.dumps(list(source_files))


def _frames_of(index: PreparedFile, files: NDArray[np.int64]) -> Iterator[FrameBlock]:
    """Yield all frames of a file, in the blocks in which their statistics are added up."""
    saturated, signal = index.column(SATURATED).astype(np.int64), index.column(SIGNAL).astype(np.float64)
    for each in blocks_of(files):
        yield FrameBlock.of(index.stored(np.arange(index.shots)[each]), saturated[each], signal[each])
