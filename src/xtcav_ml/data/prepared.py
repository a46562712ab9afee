"""Prepared files: the frames of one split, their labels, and how they were made. Without frames, rows and columns are 0.

| dataset              | shape           |                                                                        |
|----------------------|-----------------|------------------------------------------------------------------------|
| image                | (N, rows, cols) | prepared frames as stored, in one piece: a memory map reads them       |
| image.crc32          | (N,)            | checksum of each                                                       |
| label                | (N,)            | number of the class, where classes are learned                         |
| truth.label          | (N,)            | the same without the noise of the label, in simulated data             |
| truth.redrawn0, ...  | (N,)            | how often waveforms drawn again give each class, in simulated test sets|
| target.NAME          | (N,)            | a number to learn, in the raw files' unit; NaN where there is none     |
| feature.NAME         | (N,)            | a number that is an input of the network                               |
| evt.*, run, run.index| (N,)            | identify the shot                                                      |
| source.file, .row    | (N,)            | place of its raw frame: an index of `source_files`, and a row          |
| frame.saturated      | (N,)            | pixels of the raw frame that reach saturation                          |
| frame.signal         | (N,)            | mean pixel of the raw frame above the dark one, ADU                    |
| dark.mean, .noise    | (rows, cols)    | the dark frame of the raw camera, ADU, where there is one              |
| pixel.mean, .sd      | (rows, cols)    | of each pixel over all frames, in the unit after the last step         |

The frames have their checksums, which are compared when a frame is first read; all else is sealed (`system/seal`).
"""

import json
import mmap
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.schema import EVENT_KEY, NO_FRAME, REDRAWN, TRUTH
from xtcav_ml.data.hdf5 import COMPLETE, create_rows, creating, reading
from xtcav_ml.science.images import Dark, Preprocessing
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system import seal
from xtcav_ml.system.errors import UserError

SHOT_COLUMNS = (*EVENT_KEY, "run", "run.index")  # columns of the raw files that every prepared file repeats

STORED_IMAGE, CHECKSUM = "image", "image.crc32"
SATURATED, SIGNAL = "frame.saturated", "frame.signal"
MAPPED = 256 * 2**20  # bytes read after which pages are unmapped; they stay in the system's cache


@dataclass(frozen=True)
class FrameBlock:
    """Consecutive shots of a prepared file: images as stored, and the columns that follow from the frames."""

    images: NDArray[np.generic]
    columns: Mapping[str, NDArray[Any]]

    @classmethod
    def of(cls, images: NDArray[np.generic], saturated: NDArray[np.int64], signal: NDArray[np.float64]) -> Self:
        """Return the block; `saturated` and `signal` are those of the raw frames."""
        checksums = np.array([zlib.crc32(image) for image in images], np.uint32)
        return cls(images, {CHECKSUM: checksums, SATURATED: saturated, SIGNAL: signal})

    @classmethod
    def without_frames(cls, shots: int, dtype: str) -> Self:
        """Return the block of shots that have no frames."""
        return cls.of(np.empty((shots, *NO_FRAME), dtype), np.zeros(shots, np.int64), np.full(shots, np.nan))


class PixelStatistics:
    """Mean and standard deviation of each pixel over all frames that are added, as stored."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._floats = preprocessing.floats
        self._total, self._squares = np.zeros((2, *preprocessing.shape))
        self._count = 0

    def add(self, images: NDArray[np.generic]) -> None:
        """Add images (N, rows, columns). Sums of one call are float32, those of all calls float64."""
        values = self._floats(images)
        self._total += values.sum(axis=0)
        self._squares += np.square(values, out=values).sum(axis=0)
        self._count += len(images)

    def maps(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return mean and standard deviation (rows, columns); zeros if there are no frames."""
        count = max(self._count, 1)
        mean = self._total / count
        spread = np.sqrt(np.maximum(self._squares / count - mean * mean, 0))
        return mean.astype(np.float32), spread.astype(np.float32)


def write_prepared(
    path: Path,
    spec: LearningSpec,
    columns: Mapping[str, NDArray[np.generic]],
    sources: tuple[Sequence[str], NDArray[np.int64], NDArray[np.int64]],
    blocks: Iterable[FrameBlock],
) -> None:
    """Write one split.

    `columns` (N,) each holds the label, numbers and features that `spec` names, SHOT_COLUMNS and maybe TRUTH and REDRAWN;
    others are left out. `sources` are the raw files' names, and each shot's file (an index of those) and row; `blocks` the
    prepared frames in the same order. Raises UserError if the disk is full.
    """
    shots = len(sources[2])
    statistics = PixelStatistics(spec.preprocessing)
    of_frames: dict[str, list[NDArray[np.generic]]] = {}
    with creating(path, sealed=True) as file:
        shape = spec.preprocessing.shape
        images = file.create_dataset(STORED_IMAGE, (shots, *shape), spec.preprocessing.pixels.dtype)
        done = 0
        for block in blocks:
            images[done : done + len(block.images)] = block.images
            file.check()
            statistics.add(block.images)
            for name, values in block.columns.items():
                of_frames.setdefault(name, []).append(values)
            done += len(block.images)
        if done != shots:
            raise ValueError(f"expected {shots} frames for {path}, got {done}")
        for name in (CHECKSUM, SATURATED, SIGNAL):
            _write_column(file, name, np.concatenate(of_frames[name]) if of_frames else np.empty(0, np.uint32))
        if spec.label is not None:
            _write_column(file, "label", columns[spec.label])
        for kind, names in (("target.", spec.regression), ("feature.", spec.features), ("", SHOT_COLUMNS)):
            for name in names:
                _write_column(file, kind + name, columns[name])
        for name in (name for name in (TRUTH, *REDRAWN) if name in columns):
            _write_column(file, name, columns[name])
        for name, values in zip(("source.file", "source.row"), sources[1:], strict=True):
            _write_column(file, name, values)
        maps = dict(zip(("pixel.mean", "pixel.sd"), statistics.maps(), strict=True))
        if (dark := spec.preprocessing.dark) is not None:
            maps |= {"dark.mean": dark.mean, "dark.noise": dark.noise}
        for name, values in maps.items():
            checked: dict[str, Any] = {"chunks": values.shape, "fletcher32": True} if values.size else {}
            file.create_dataset(name, data=values, **checked)
        if images.nbytes:
            file.unsealed = (images.id.get_offset(), images.nbytes)
        file.attrs["meaning"] = spec.to_json()
        file.attrs["source_files"] = json.dumps(list(sources[0]))


def _write_column(file: h5py.File, name: str, values: NDArray[np.generic]) -> None:
    create_rows(file, name, len(values), (), values.dtype)[:] = values


class PreparedFile(AbstractContextManager["PreparedFile"]):
    """A prepared file, open to read: images at any rows, and everything else as attributes.

    Raises UserError if the file is missing, or is not as `write_prepared` wrote it.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UserError(f"{path}: missing (expected a prepared file). Fix: run `make repro`")
        seal.require_sealed(path, "remove it, then run `dvc repro prepare`")
        with reading(path) as file:
            missing = [name for name in (COMPLETE, "meaning", CHECKSUM) if name not in (*file.attrs, *file)]
            if missing:
                raise UserError(
                    f"{path}: not a finished file of `xtcav prepare` (found no {missing[0]!r}, expected {COMPLETE}, meaning "
                    f"and {CHECKSUM}). Fix: run `dvc repro prepare`"
                )
            self._columns: dict[str, NDArray[np.generic]] = {
                name: dataset[:] for name, dataset in file.items() if dataset.ndim == 1
            }
            self.source_files: list[str] = json.loads(file.attrs["source_files"])
            dark = Dark(file["dark.mean"][:], file["dark.noise"][:]) if "dark.mean" in file else None
            self.pixel_mean: NDArray[np.float32] = file["pixel.mean"][:]
            self.pixel_sd: NDArray[np.float32] = file["pixel.sd"][:]
            self.spec = LearningSpec.from_json(file.attrs["meaning"], dark)
            dataset = file[STORED_IMAGE]
            self.shots: int = dataset.shape[0]
            self.frame_shape: tuple[int, int] = dataset.shape[1:]
            self._dtype, self._offset = dataset.dtype, dataset.id.get_offset()
        self.path = path
        self.classes = self.spec.classes
        self._checked = np.zeros(self.shots, dtype=bool)
        self._read = 0
        self._map()

    @property
    def labels(self) -> NDArray[np.int64]:
        """Return the number of each shot's class (N,)."""
        return self.column("label").astype(np.int64)

    @property
    def truth(self) -> NDArray[np.int64] | None:
        """Return the number of each shot's class (N,) without the noise of its label; None if only the label is there."""
        return self.column(TRUTH).astype(np.int64) if TRUTH in self._columns else None

    @property
    def redrawn(self) -> NDArray[np.int64] | None:
        """Return how often the noise of the label, drawn again, gives each class (N, classes); None if that was not done."""
        names = [name for name in REDRAWN if name in self._columns]
        if not names or len(names) != len(self.classes):
            return None
        return np.stack([self.column(name) for name in names], axis=1).astype(np.int64)

    @property
    def targets(self) -> NDArray[np.float32]:
        """Return the numbers to learn (N, len(regression)); NaN where there is none."""
        return self._table("target.", self.spec.regression)

    @property
    def features(self) -> NDArray[np.float32]:
        """Return the numbers that are inputs of the network (N, len(features))."""
        return self._table("feature.", self.spec.features)

    @property
    def nbytes(self) -> int:
        """Return the bytes of all images, as stored."""
        return int(self._images.nbytes)

    def column(self, name: str) -> NDArray[np.generic]:
        """Return a dataset (N,) of the table above."""
        return self._columns[name]

    def stored(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        """Return images (len(rows), rows, columns) at any rows in any order, as stored.

        Raises UserError if one differs from its checksum, which is checked when it is first read.
        """
        images: NDArray[np.generic] = self._images[rows]
        for i in np.flatnonzero(~self._checked[rows]):
            checksum, expected = zlib.crc32(images[i]), self.column(CHECKSUM)[rows[i]]
            if checksum != expected:
                raise UserError(
                    f"{self.path}: {STORED_IMAGE}: damaged by a failing disk or another program (found CRC-32 "
                    f"{checksum} in row {rows[i]}, expected {expected}). Fix: remove the file, then run `dvc repro prepare`"
                )
        self._checked[rows] = True
        self._read += images.nbytes
        if self._read > MAPPED:
            self._mapping.madvise(mmap.MADV_DONTNEED)
            self._read = 0
        return images

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return images (len(rows), rows, columns) as numbers in the unit after the last step. Raises as `stored`."""
        return self.spec.preprocessing.floats(self.stored(rows))

    def close(self) -> None:
        """Close the file."""
        del self._images
        self._mapping.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _table(self, kind: str, names: Sequence[str]) -> NDArray[np.float32]:
        columns = [self.column(kind + name).astype(np.float32) for name in names]
        return np.stack(columns, axis=1) if columns else np.empty((self.shots, 0), np.float32)

    def _map(self) -> None:
        """Map the file into memory: only what is used is read, straight from the system's cache."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            self._mapping = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        shape = (self.shots, *self.frame_shape)
        self._images = np.ndarray(shape, self._dtype, self._mapping if self.shots else None, self._offset or 0)
