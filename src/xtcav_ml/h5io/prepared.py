"""Prepared files: the frames of one split with their labels, and all that is needed to understand them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from xtcav_ml.errors import UserError
from xtcav_ml.h5io.files import COMPLETE, create_rows, creating, reading
from xtcav_ml.params.prepare import Step
from xtcav_ml.shots import EVENT_KEY


@dataclass(frozen=True)
class Meaning:
    """What a prepared file says about itself, so that nothing else is needed to read it."""

    label: str
    classes: tuple[str, ...]
    steps: tuple[Step, ...]  # done to every raw frame, in order
    raw_shape: tuple[int, int]  # rows and columns of the raw frames
    dark: NDArray[np.float32] | None  # mean dark frame (rows, columns), ADU


SHOT_COLUMNS = (*EVENT_KEY, "run", "run.index")
"""Columns of the raw files that every prepared file repeats."""


def write_prepared(
    path: Path,
    meaning: Meaning,
    columns: Mapping[str, NDArray[np.generic]],
    sources: tuple[Sequence[str], NDArray[np.int64], NDArray[np.int64]],
    blocks: Iterable[NDArray[np.float32]],
    *,
    frame_shape: tuple[int, int],
    dtype: str,
) -> None:
    """Write one split.

    `columns` holds `label` and SHOT_COLUMNS, one value a shot; `sources` the raw files' names, and each shot's file (an
    index of those) and row; `blocks` the prepared frames (n, rows, columns) in the same order, written as `dtype`.
    The mean and standard deviation of all pixels, as stored, are kept beside them.
    """
    shots = len(columns["label"])
    total, squares = 0.0, 0.0
    with creating(path) as file:
        images = create_rows(file, "image", shots, frame_shape, dtype)
        done = 0
        for block in blocks:
            stored = block.astype(dtype)
            images[done : done + len(stored)] = stored
            pixels = stored.astype(np.float64)
            total, squares, done = total + pixels.sum(), squares + np.square(pixels).sum(), done + len(stored)
        if done != shots:
            raise ValueError(f"expected {shots} frames for {path}, got {done}")
        for name, values in {**columns, "source.file": sources[1], "source.row": sources[2]}.items():
            create_rows(file, name, shots, (), values.dtype)[:] = values
        if meaning.dark is not None:
            file.create_dataset("dark", data=meaning.dark, chunks=meaning.dark.shape, fletcher32=True)
        mean = total / images.size
        file.attrs["pixel_mean"] = mean
        file.attrs["pixel_sd"] = float(np.sqrt(max(squares / images.size - mean**2, 0.0)))
        file.attrs["label"] = meaning.label
        file.attrs["classes"] = json.dumps(meaning.classes)
        file.attrs["steps"] = json.dumps([step.model_dump() for step in meaning.steps])
        file.attrs["raw_shape"] = meaning.raw_shape
        file.attrs["source_files"] = json.dumps(list(sources[0]))


class PreparedFile:
    """A prepared file, open to read: images at any rows, and everything else as attributes.

    Raises UserError if the file is missing, unreadable or unfinished.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UserError(f"{path}: prepared file is missing; run `make repro`, which makes it")
        with reading(path):
            pass
        self._file = h5py.File(path, "r", locking=False)
        if not self._file.attrs.get(COMPLETE):
            self._file.close()
            raise UserError(
                f"{path}: prepared file must be complete, got one that was not finished; run `dvc repro prepare`"
            )
        self.path = path
        attributes = self._file.attrs
        self._images: h5py.Dataset = self._file["image"]
        self.shots: int = self._images.shape[0]
        self.frame_shape: tuple[int, int] = self._images.shape[1:]
        self.labels: NDArray[np.int64] = self._file["label"][:].astype(np.int64)
        self.classes: tuple[str, ...] = tuple(json.loads(attributes["classes"]))
        self.pixel_mean, self.pixel_sd = float(attributes["pixel_mean"]), float(attributes["pixel_sd"])
        self.source_files: list[str] = json.loads(attributes["source_files"])
        self.meaning = Meaning(
            label=str(attributes["label"]),
            classes=self.classes,
            steps=TypeAdapter(tuple[Step, ...]).validate_json(attributes["steps"]),
            raw_shape=(int(attributes["raw_shape"][0]), int(attributes["raw_shape"][1])),
            dark=self._file["dark"][:] if "dark" in self._file else None,
        )

    def column(self, name: str) -> NDArray[np.generic]:
        """Return one value a shot: a name of SHOT_COLUMNS, `source.file` or `source.row`."""
        values: NDArray[np.generic] = self._file[name][:]
        return values

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        """Return the images (len(rows), rows, columns) at any rows in any order, each checked against its checksum."""
        images = np.empty((len(rows), *self.frame_shape), dtype=self._images.dtype)
        for i, row in enumerate(rows):
            self._images.read_direct(images, np.s_[int(row)], np.s_[i])
        return images

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
