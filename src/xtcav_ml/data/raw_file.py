"""Raw shot files: their problems and columns, by the layout of params.yaml. Nothing here writes."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.layout import Source
from xtcav_ml.config.schema import IMAGE, Dataset
from xtcav_ml.data import raw_dataset
from xtcav_ml.data.hdf5 import reading, refusing_unreadable
from xtcav_ml.data.raw_dataset import ALONE, Folder, Misfit
from xtcav_ml.system.errors import UserError

SET_LAYOUT = "set data.layout (`xtcav scan` lists the datasets), or remove the file"


class RawFile:
    """A raw file that is open to read, seen through the layout of its folder."""

    def __init__(self, file: h5py.File, path: Path, folder: Folder = ALONE) -> None:
        self.file, self.path, self.folder, self.layout = file, path, folder, folder.layout

    @contextlib.contextmanager
    def naming(self, name: str) -> Iterator[None]:
        """Raise what is wrong with a dataset as a UserError that names the file, the dataset and its path."""
        path = self.layout.source(name).path
        place = name if path in (None, name) else f"{name} ({path})"
        try:
            with refusing_unreadable(self.path, place):
                yield
        except Misfit as error:
            raise UserError(f"{self.path}: {place}: {error}") from None

    def dataset(self, name: str, cache: tuple[int, int] | None = None) -> h5py.Dataset:
        """Return a dataset; `cache` as `locate` has it. Raises Misfit if it is missing, or its data are not all there."""
        path = self.layout.source(name).path or ""
        found = raw_dataset.locate(self.file, path, self.folder, cache)
        if found is None:
            raise Misfit("missing", "no such path", "a dataset", SET_LAYOUT)
        if not isinstance(found, h5py.Dataset):
            kind = "a group" if isinstance(found, h5py.Group) else "a named type"
            raise Misfit("not a dataset", kind, "a dataset", SET_LAYOUT)
        return found

    def length(self, name: str) -> int | None:
        """Return the length of `name`, None if one value stands for all shots. Raises UserError if it is missing."""
        path = self.layout.source(name).path
        if path is None or "@" in path:
            return None
        with self.naming(name):
            shape = self.dataset(name).shape or ()
            return 1 if name == IMAGE and len(shape) == 2 else shape[0] if shape else None

    def rows(self, name: str, expected: Dataset) -> int | None:
        """Return the number of rows of `name`, None if one value stands for all shots. Raises Misfit if it breaks a rule."""
        source = self.layout.source(name)
        if source.path is None or "@" in source.path:
            self._single(source)
            return None
        dataset = self.dataset(name)
        rows = raw_dataset.rows_of(dataset.shape, expected.row_shape)
        if dataset.dtype.kind not in "biuf":
            raise Misfit("wrong type", dataset.dtype, "numbers", SET_LAYOUT)
        raw_dataset.require_stored(dataset, self.folder)
        return rows

    def column(self, name: str, expected: Dataset, shots: int) -> NDArray[Any]:
        """Return `name` as int64 or float64 (shots,). Raises Misfit if it breaks a rule."""
        source = self.layout.source(name)
        if source.path is None or "@" in source.path:
            values = self._single(source)
        else:
            dataset = self.dataset(name)
            raw_dataset.require_stored(dataset, self.folder)
            values = np.atleast_1d(dataset[()])
            if len(values) != (1 if dataset.shape == () else shots):
                raise Misfit("another number of rows than the frames", len(values), shots, SET_LAYOUT)
            if dataset.shape != ():
                return raw_dataset.column(values, source, expected)
        return np.repeat(raw_dataset.column(values, source, expected), shots)

    def has(self, name: str) -> bool:
        """Return whether the file has `name`, maybe as one value of all shots."""
        source = self.layout.source(name)
        if source.path is None:
            named = source.file_name is not None and raw_dataset.number_in_name(self.path, source.file_name) is not None
            return named or source.value is not None
        return raw_dataset.locate(self.file, source.path.partition("@")[0], self.folder) is not None

    def _single(self, source: Source) -> NDArray[Any]:
        """Return the value of all shots (1,); 0 where there is none."""
        if source.file_name is not None:
            number = raw_dataset.number_in_name(self.path, source.file_name)
            if number is None:
                fix = "name it in data.layout.datasets, or rename the file"
                raise Misfit("no number in the file's name", self.path.stem, source.file_name, fix)
            return np.array([number])
        if source.path is None:
            return np.array([0 if source.value is None else source.value])
        place, _, attribute = source.path.rpartition("@")
        node = raw_dataset.locate(self.file, place, self.folder)
        if node is None or attribute not in node.attrs:
            raise Misfit("missing", "no such attribute", "an attribute", SET_LAYOUT)
        value = np.asarray(node.attrs[attribute])
        if value.size != 1 or value.dtype.kind not in "biuf":
            raise Misfit("not a number", f"an attribute {node.attrs[attribute]!r}", "one number", SET_LAYOUT)
        return value.reshape(1)


def file_problems(path: Path, required: Mapping[str, Dataset], folder: Folder = ALONE) -> list[str]:
    """Return a line for each problem of a raw file; empty if there is none.

    Every `required` dataset must be where the layout of `folder` has it, of a kind and row shape that fit, with its data in the
    file or where the folder allows, and all must have the same number of rows. Reads metadata only, and no other dataset's.
    """
    problems: list[str] = []
    rows: dict[str, int] = {}
    try:
        with reading(path) as file:
            raw = RawFile(file, path, folder)
            for name, expected in required.items():
                try:
                    with raw.naming(name):
                        count = raw.rows(name, expected)
                        rows |= {} if count is None else {name: count}
                except UserError as error:
                    problems.append(str(error))
    except UserError as error:
        return [str(error)]
    if len(set(rows.values())) > 1:
        usual = max(set(rows.values()), key=list(rows.values()).count)
        odd = ", ".join(f"{count} in {name}" for name, count in rows.items() if count != usual)
        problems.append(
            f"{path}: datasets differ in their number of rows (found {odd}, expected {usual}). Fix: {SET_LAYOUT}"
        )
    return problems


def read_columns(
    path: Path,
    required: Mapping[str, Dataset],
    optional: Mapping[str, Dataset] | None = None,
    folder: Folder = ALONE,
) -> dict[str, NDArray[Any]]:
    """Return datasets of one value a shot as int64 or float64 (shots,); of `optional` ones those that the file has.

    Raises UserError if they cannot be read without loss.
    """
    columns: dict[str, NDArray[Any]] = {}
    with reading(path) as file:
        raw = RawFile(file, path, folder)
        lengths = (raw.length(name) for name in (*required, IMAGE))
        shots = next(length for length in lengths if length is not None)
        for name, expected in {**required, **(optional or {})}.items():
            with raw.naming(name):
                if name in required or raw.has(name):
                    columns[name] = raw.column(name, expected, shots)
    folder.require_unchanged()
    return columns
