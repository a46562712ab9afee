"""Shards: the prepared frames of one raw file each, and the dark frame that was subtracted from them.

| dataset         | shape           |                                                                  |
|-----------------|-----------------|------------------------------------------------------------------|
| image           | (N, rows, cols) | prepared frames as stored, in one piece, in row order            |
| image.crc32     | (N,)            | checksum of each                                                 |
| row             | (N,)            | its row in the raw file, ascending                               |
| frame.saturated | (N,)            | pixels of the raw frame that reach saturation                    |
| frame.signal    | (N,)            | mean pixel of the raw frame above the dark one, ADU              |
| frame.clipped   | (N,)            | pixels that the stored type cut off                              |

A shard holds every usable shot of its raw file, whatever set that is in, and depends on no other raw file but the dark run's.
The index files of the sets (`data/prepared`) repeat its checksums, which are compared when a frame is read; all else in a shard
is sealed. A file of the dark frame holds `dark.mean` and `dark.noise` (rows, cols), ADU, where there is one.
"""

import shlex
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.schema import NO_FRAME
from xtcav_ml.data.hdf5 import NewFile, create_rows, creating, reading
from xtcav_ml.science.images import Dark
from xtcav_ml.system import seal
from xtcav_ml.system.errors import UserError

SHARDS, DARK = Path("frames/shards"), Path("frames/dark.h5")
"""Where they are in the folder of the prepared files; a shard has the name of its raw file."""

STORED_IMAGE, CHECKSUM, ROW = "image", "image.crc32", "row"
SATURATED, SIGNAL, CLIPPED = "frame.saturated", "frame.signal", "frame.clipped"
MAPS = {"dark.mean": "mean", "dark.noise": "noise"}


def cure(path: Path) -> str:
    """Return what mends a damaged prepared file.

    DVC's cache and what `xtcav prepare` keeps may hold it under other names, and DVC would restore the damage from there.
    """
    return f"run `find . -samefile {shlex.quote(str(path))} -delete`, then `dvc repro prepare`"


@dataclass(frozen=True)
class FrameBlock:
    """Consecutive frames as stored, and the columns that follow from them and from the raw ones."""

    images: NDArray[np.generic]
    columns: Mapping[str, NDArray[Any]]

    @classmethod
    def of(
        cls,
        images: NDArray[np.generic],
        saturated: NDArray[np.int64],
        signal: NDArray[np.float64],
        clipped: NDArray[np.int64] | None = None,
    ) -> Self:
        """Return the block; `saturated` and `signal` are those of the raw frames, `clipped` is 0 by default."""
        checksums = np.array([zlib.crc32(image) for image in images], np.uint32)
        lost = np.zeros(len(images), np.int64) if clipped is None else clipped
        return cls(images, {CHECKSUM: checksums, SATURATED: saturated, SIGNAL: signal, CLIPPED: lost})

    @classmethod
    def without_frames(cls, shots: int, dtype: str) -> Self:
        """Return the block of shots that have no frames."""
        return cls.of(np.empty((shots, *NO_FRAME), dtype), np.zeros(shots, np.int64), np.full(shots, np.nan))


@dataclass(frozen=True)
class Shard:
    """What a shard has beside its frames, which begin at byte `offset`."""

    path: Path
    offset: int
    columns: Mapping[str, NDArray[Any]]

    @property
    def rows(self) -> NDArray[np.int64]:
        """Return the row of each frame in the raw file (N,)."""
        return self.columns[ROW]


def write_frames(
    file: NewFile, shape: tuple[int, int], dtype: str, shots: int, blocks: Iterable[FrameBlock]
) -> dict[str, NDArray[Any]]:
    """Write frames into a new dataset in one piece, not sealed; return their columns.

    Raises UserError if the disk is full, ValueError if the blocks have not as many frames as there are `shots`.
    """
    images = file.create_dataset(STORED_IMAGE, (shots, *shape), dtype)
    done, columns = 0, dict[str, list[NDArray[Any]]]()
    for block in blocks:
        images[done : done + len(block.images)] = block.images
        file.check()
        for name, values in block.columns.items():
            columns.setdefault(name, []).append(values)
        done += len(block.images)
    if done != shots:
        raise ValueError(f"expected {shots} frames, got {done}")
    return {name: np.concatenate(values) for name, values in columns.items()}


def write_column(file: h5py.File, name: str, values: NDArray[np.generic]) -> None:
    """Write a value a shot."""
    dataset = create_rows(file, name, len(values), (), values.dtype)
    dataset[:] = values
    dataset.id.close()  # HDF5 gives it its place now: a profiler, as that of a Dask worker, may keep it open for longer


def leave_unsealed(file: NewFile) -> None:
    """Leave the frames out of the seal."""
    images = file[STORED_IMAGE]
    if images.nbytes:
        file.unsealed = (images.id.get_offset(), images.nbytes)


def write_shard(
    path: Path, rows: NDArray[np.int64], shape: tuple[int, int], dtype: str, blocks: Iterable[FrameBlock]
) -> None:
    """Write the frames of a raw file at `rows` (N,), whole or not at all; `blocks` are in that order.

    Raises as `write_frames`.
    """
    with creating(path, sealed=True) as file:
        columns = write_frames(file, shape, dtype, len(rows), blocks)
        for name, values in (columns | {ROW: rows}).items():
            write_column(file, name, values)
        leave_unsealed(file)


def write_columns(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write values a shot alone, whole or not at all. Raises UserError if the disk is full."""
    with creating(path, sealed=True) as file:
        for name, values in columns.items():
            write_column(file, name, values)


def read_columns(path: Path) -> dict[str, NDArray[Any]] | None:
    """Return the columns of a file of `write_columns`; None if it is missing or damaged."""
    if not path.is_file() or seal.left_out(path) is None:
        return None
    with reading(path) as file:
        return {name: dataset[:] for name, dataset in file.items()}


def read_shard(path: Path) -> Shard | None:
    """Return a shard; None if it is missing, damaged, or has not as many frames as its columns say. Reads no frame."""
    try:
        if not path.is_file() or seal.left_out(path) is None:
            return None
        with reading(path) as file:
            columns = {name: dataset[:] for name, dataset in file.items() if dataset.ndim == 1}
            return Shard(path, file[STORED_IMAGE].id.get_offset(), columns)
    except (UserError, OSError, LookupError):
        return None


def write_dark(path: Path, dark: Dark | None) -> None:
    """Write the dark frame, or that there is none."""
    with creating(path, sealed=True) as file:
        for name, part in MAPS.items() if dark is not None else ():
            values = getattr(dark, part)
            file.create_dataset(name, data=values, chunks=values.shape, fletcher32=True)


def read_dark(path: Path) -> Dark | None:
    """Return the dark frame of a file of `write_dark`. Raises UserError if it is missing or damaged."""
    if not path.is_file():
        raise UserError(f"{path}: missing (expected the dark frame). Fix: run `dvc repro prepare`")
    seal.require_sealed(path, cure(path))
    with reading(path) as file:
        return dark_in(file)


def dark_in(file: h5py.File) -> Dark | None:
    """Return the dark frame in an open file; None if there is none."""
    return Dark(*(file[name][:] for name in MAPS)) if all(name in file for name in MAPS) else None
