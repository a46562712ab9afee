"""Prepared files: the shots of one set, their labels, where their frames are, and how they were made.

| dataset              | shape           |                                                                        |
|----------------------|-----------------|------------------------------------------------------------------------|
| image.crc32          | (N,)            | checksum of each frame as stored                                       |
| label                | (N,)            | number of the class, where classes are learned                         |
| truth.label          | (N,)            | the same without the noise of the label, in simulated data             |
| truth.redrawn0, ...  | (N,)            | how often waveforms drawn again give each class, in simulated test sets|
| target.NAME          | (N,)            | a number to learn, in the raw files' unit; NaN where there is none     |
| feature.NAME         | (N,)            | a number that is an input of the network                               |
| evt.*, run, run.index| (N,)            | identify the shot                                                      |
| source.file, .row    | (N,)            | place of its raw frame: an index of `source_files`, and a row          |
| source.shard_row     | (N,)            | place of its prepared frame in the shard of that file (`data/shards`)  |
| frame.saturated      | (N,)            | pixels of the raw frame that reach saturation                          |
| frame.signal         | (N,)            | mean pixel of the raw frame above the dark one, ADU                    |

The file of an experiment of the notes holds all itself: instead of source.shard_row the frames `image` (N, rows, cols), in one
piece, `dark.mean` and `dark.noise` of the raw camera (rows, cols), ADU, where there is a dark frame, and `pixel.mean` and
`pixel.sd` of each pixel over all frames, in the unit after the last step.

The frames have their checksums, which are compared when a frame is first read; all else is sealed (`system/seal`). So a file
that is the same means frames that are the same. Without frames, rows and columns are 0.
"""

import functools
import hashlib
import itertools
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

import h5py
import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.schema import EVENT_KEY, REDRAWN, TRUTH
from xtcav_ml.data import shards
from xtcav_ml.data.frame_files import FrameFiles
from xtcav_ml.data.hdf5 import COMPLETE, reading
from xtcav_ml.data.shards import CHECKSUM, STORED_IMAGE, FrameBlock, cure
from xtcav_ml.science.images import Preprocessing
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system import seal
from xtcav_ml.system.errors import UserError

SHOT_COLUMNS = (*EVENT_KEY, "run", "run.index")  # columns of the raw files that every prepared file repeats

SHARD_ROW = "source.shard_row"
FRAMES_AT_ONCE = 16  # frames in a block


class PixelStatistics:
    """Mean and standard deviation of each pixel over all frames that are added, as stored."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._floats = preprocessing.floats
        self._total, self._squares = np.zeros((2, *preprocessing.shape))
        self._count = 0

    def adding(self, blocks: Iterable[FrameBlock]) -> Iterator[FrameBlock]:
        """Yield the blocks, and add the images of each."""
        for block in blocks:
            yield block
            self.add(block.images)

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


def blocks_of(files: NDArray[np.int64]) -> Iterator[slice]:
    """Yield slices of shots that lie in one file, by the file's number of each (N,), FRAMES_AT_ONCE at most."""
    edges = [0, *(np.flatnonzero(np.diff(files)) + 1).tolist(), len(files)]
    for start, end in itertools.pairwise(edges):
        yield from (slice(first, min(first + FRAMES_AT_ONCE, end)) for first in range(start, end, FRAMES_AT_ONCE))


def digest(path: Path) -> str:
    """Return the SHA-256 of a small file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class PreparedFile(AbstractContextManager["PreparedFile"]):
    """A prepared file, open to read: images at any rows, and everything else as attributes.

    Raises UserError if the file, its shards or its dark frame are missing, or are not as they were written.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UserError(f"{path}: missing (expected a prepared file). Fix: run `make repro`")
        self.path = path
        seal.require_sealed(path, cure(path))
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
            dark = shards.dark_in(file)
            if "dark" in file.attrs:
                self._require_dark(path.parent / shards.DARK, file.attrs["dark"])
                dark = shards.read_dark(path.parent / shards.DARK)
            self.spec = LearningSpec.from_json(file.attrs["meaning"], dark)
            self._maps = (file["pixel.mean"][:], file["pixel.sd"][:]) if "pixel.mean" in file else None
            self.shots: int = len(self._columns[CHECKSUM])
            self._places = self._pieces_in(file)
        self.classes = self.spec.classes
        self.frame_shape: tuple[int, int] = self.spec.preprocessing.shape
        self._dtype = np.dtype(self.spec.preprocessing.pixels.dtype)
        self._checked = np.zeros(self.shots, dtype=bool)
        self._frames = FrameFiles(self._places, self.frame_shape, self._dtype)

    def _pieces_in(self, file: h5py.File) -> list[tuple[Path, int, int]]:
        """Return path, first byte and number of frames of each file that has some, and note where those of each shot are."""
        if STORED_IMAGE in file:
            self._piece, self._row = np.zeros(self.shots, np.int64), np.arange(self.shots)
            return [(self.path, file[STORED_IMAGE].id.get_offset() or 0, self.shots)]
        self._piece, self._row = self.column("source.file").astype(np.int64), self.column(SHARD_ROW).astype(np.int64)
        places = json.loads(file.attrs["shards"])
        names = self.source_files if self.spec.has_frames else []
        return [(self.path.parent / shards.SHARDS / name, *place) for name, place in zip(names, places, strict=True)]

    def _require_dark(self, dark: Path, expected: str) -> None:
        """Raise UserError if the file of the dark frame is another one than when this file was written."""
        if dark.is_file() and (found := digest(dark)) != expected:
            raise UserError(
                f"{dark}: not the dark frame of {self.path} (found SHA-256 {found[:16]}, expected {expected[:16]}). Fix: "
                f"{cure(dark)}"
            )

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
        return int(self.shots * np.prod(self.frame_shape) * self._dtype.itemsize)

    @property
    def pixel_mean(self) -> NDArray[np.float32]:
        """Return the mean of each pixel over all frames (rows, columns), in the unit after the last step.

        All frames are read for it, once, unless the file holds it. Raises as `stored`.
        """
        return self._statistics[0]

    @property
    def pixel_sd(self) -> NDArray[np.float32]:
        """Return the standard deviation of each pixel over all frames (rows, columns), as `pixel_mean`."""
        return self._statistics[1]

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of all datasets (N,)."""
        return tuple(self._columns)

    def column(self, name: str) -> NDArray[np.generic]:
        """Return a dataset (N,) of the table above."""
        return self._columns[name]

    def stored(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        """Return images (len(rows), rows, columns) at any rows in any order, as stored.

        Raises UserError if one differs from its checksum, which is checked when it is first read.
        """
        if not self.spec.has_frames:
            return np.empty((len(rows), *self.frame_shape), self._dtype)
        images: NDArray[np.generic] = self._frames.read(self._piece[rows], self._row[rows])
        for i in np.flatnonzero(~self._checked[rows]):
            checksum, expected = zlib.crc32(images[i]), self.column(CHECKSUM)[rows[i]]
            if checksum != expected:
                self._refuse(rows[i], checksum, expected)
        self._checked[rows] = True
        return images

    def _refuse(self, row: int, found: int, expected: int) -> NoReturn:
        path = self._places[self._piece[row]][0]
        raise UserError(
            f"{path}: {STORED_IMAGE}: damaged by a failing disk or another program (found CRC-32 {found} in row "
            f"{self._row[row]}, expected {expected}). Fix: {cure(path)}"
        )

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return images (len(rows), rows, columns) as numbers in the unit after the last step. Raises as `stored`."""
        return self.spec.preprocessing.floats(self.stored(rows))

    def close(self) -> None:
        """Close the file."""
        self._frames.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    @functools.cached_property
    def _statistics(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if self._maps is not None:
            return self._maps
        statistics = PixelStatistics(self.spec.preprocessing)
        for each in blocks_of(self._piece):
            statistics.add(self.stored(np.arange(self.shots)[each]))
        return statistics.maps()

    def _table(self, kind: str, names: Sequence[str]) -> NDArray[np.float32]:
        columns = [self.column(kind + name).astype(np.float32) for name in names]
        return np.stack(columns, axis=1) if columns else np.empty((self.shots, 0), np.float32)
