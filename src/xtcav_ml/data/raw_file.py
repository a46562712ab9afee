"""Raw shot files: their problems and columns, by the layout of params.yaml. Nothing here writes."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.layout import Source
from xtcav_ml.config.schema import EVENT_KEY, IMAGE, TRUE_PULSES, TRUTH, Dataset
from xtcav_ml.data import raw_column, raw_dataset
from xtcav_ml.data.hdf5 import UNREADABLE, reading, refusing_unreadable
from xtcav_ml.data.listing import PREDICTED_BY
from xtcav_ml.data.raw_dataset import ALONE, Folder, Misfit
from xtcav_ml.system.errors import UserError

KEY = Dataset("label", (), "part of the event key; -1 if a row has none")
SET_KEY = "name it in data.layout.datasets, as null if files have none, or remove the file"
SET_LAYOUT = "set data.layout (`xtcav scan` lists the datasets), or remove the file"


@dataclass(frozen=True)
class Piece:
    """Where the frames of a file are."""

    shape: tuple[int, int, int]  # frames, rows, columns
    offset: int | None  # bytes before frames of int16 in one piece; None for others
    doubtful: bool  # whether HDF5 may crash when it reads them


class RawFile:
    """A raw file that is open to read, seen through the layout of its folder."""

    def __init__(self, file: h5py.File, path: Path, folder: Folder = ALONE) -> None:
        self.file, self.path, self.folder = file, path, folder.for_file()
        self._open: dict[str, h5py.Dataset] = {}  # datasets by path
        self._fields: dict[str, str | None] = {}  # of compound datasets, by path
        self._stored: set[str] = set()  # names of those whose data were found to be there
        self._keys: dict[str, NDArray[Any]] = {}  # columns of the event key
        self._written: set[str] = set()  # names of those whose rows were found to be written
        self.blank: NDArray[np.bool_] | None = None  # rows that hold no shot, by `find_blank` or `find_unwritten`

    @contextlib.contextmanager
    def naming(self, name: str) -> Iterator[None]:
        """Raise what is wrong with a dataset as a UserError that names the file, the dataset and its path."""
        try:
            yield
        except (Misfit, *UNREADABLE) as error:
            path = self.folder.source(name).path
            place = name if path in (None, name) else f"{name} ({path})"
            if isinstance(error, Misfit):
                raise UserError(f"{self.path}: {place}: {error}") from None
            with refusing_unreadable(self.path, place):
                raise

    def dataset(self, name: str, cache: tuple[int, int] | None = None) -> h5py.Dataset:
        """Return a dataset; `cache` as `locate` has it. Raises Misfit if it is missing."""
        path = self.folder.source(name).path or ""
        if path in self._open and cache is None:
            return self._open[path]
        self._open.pop(path, None)  # HDF5 gives a cache only to a dataset that nobody has open
        found, self._fields[path] = raw_dataset.located(self.file, path, self.folder, cache)
        if found is None:
            raise Misfit("missing", "no such path", "a dataset", SET_LAYOUT)
        if not isinstance(found, h5py.Dataset):
            kind = "a group" if isinstance(found, h5py.Group) else "a named type"
            raise Misfit("not a dataset", kind, "a dataset", SET_LAYOUT)
        self._open[path] = found
        return found

    def stored(self, name: str) -> h5py.Dataset:
        """Return a dataset. Raises Misfit as `dataset`, or if its data are not all there."""
        dataset = self.dataset(name)
        if name not in self._stored:
            raw_dataset.require_stored(dataset, self.folder)
            self._stored.add(name)
        return dataset

    def written(self, name: str) -> h5py.Dataset:
        """Return a dataset. Raises Misfit as `stored`, or if rows were never written that are not `blank`."""
        dataset = self.stored(name)
        if name not in self._written:
            raw_dataset.require_written(dataset, self.blank)
            self._written.add(name)
        return dataset

    def find_blank(self) -> None:
        """Find the rows that hold no shot: a part of the event key has no value there, is negative, or all parts are zero.

        Without a time, a single zero may be the number of a shot. Raises UserError if a key cannot be read.
        """
        for name in EVENT_KEY:
            with self.naming(name):
                if self.folder.source(name).is_dataset and self.dataset(name).shape:
                    self._keys[name] = self._key(name)
        if not self._keys:
            return
        keys = np.stack(list(self._keys.values()))
        zero = (keys == 0).all(axis=0)
        if EVENT_KEY[0] not in self._keys and np.count_nonzero(zero) == 1:
            zero[:] = False
        self.blank = zero | (keys < 0).any(axis=0)
        for name, values in self._keys.items():
            if self.blank.all() and (values <= 0).all() and len(values):
                with self.naming(name):
                    raw_dataset.require_written(self.stored(name))
                    raise Misfit("no value in any row", f"{values[0]} in row 0", "the event keys of shots", SET_KEY)

    def find_unwritten(self, names: Iterable[str]) -> None:
        """Find the rows that hold no shot where no event key tells: one of datasets was never written there.

        A dataset that was not written at all tells nothing. Raises UserError if one cannot be read.
        """
        for name in names:
            if self.folder.source(name).is_dataset:
                with self.naming(name):
                    missing = raw_dataset.unwritten(self.stored(name))
                    if missing is not None and not missing.all():
                        self.blank = missing if self.blank is None else self.blank | missing

    def _key(self, name: str) -> NDArray[Any]:
        """Return a part of the event key (N,), -1 in rows that have none."""
        dataset, source = self.stored(name), self.folder.source(name)
        properties = dataset.id.get_create_plist()
        if properties.fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED:
            field = self._field(name)
            fill = dataset.fillvalue if field is None else dataset.fillvalue[field]
            if np.ndim(fill) == 0 and fill:
                source = source.model_copy(update={"missing": (*source.missing, fill)})
        missing = raw_dataset.unwritten(dataset)
        self._written.add(name)  # or blank
        blank = raw_column.NOT_BLANK if missing is None else missing
        return raw_column.column(self._values(name, dataset), source, KEY, blank)

    def _values(self, name: str, dataset: h5py.Dataset) -> NDArray[Any]:
        return np.asarray(dataset[self._field(name) or ()])

    def _field(self, name: str) -> str | None:
        return self._fields[self.folder.source(name).path or ""]

    def piece(self) -> Piece:
        """Return where the frames are. Raises Misfit as `stored`."""
        frames = self.stored(IMAGE)
        shape, offset = raw_dataset.frames_shape(frames), raw_dataset.offset_in(self.file, frames)
        return Piece(shape, offset, raw_dataset.packed_doubtfully(frames))

    def rows(self, name: str, expected: Dataset) -> int | None:
        """Return the number of rows of `name`, None if one value stands for all shots. Raises Misfit if it breaks a rule."""
        source = self.folder.source(name)
        if not source.is_dataset:
            self._single(source)
            return None
        dataset = self.dataset(name)
        kind, shape, field = dataset.dtype, dataset.shape, self._field(name)
        if field is not None:
            if expected.row_shape:
                raise Misfit("a field of a compound dataset", field, "a dataset of its own", SET_LAYOUT)
            kind, shape = kind[field].base, shape + kind[field].shape
        rows = raw_column.rows_of(shape, expected.row_shape)
        if kind.kind not in "biuf":
            raise Misfit("wrong type", kind, "numbers", SET_LAYOUT)
        self.stored(name)
        return rows

    def shots(self, names: Iterable[str]) -> int:
        """Return the length of the first of datasets, or of the frames, that has a row a shot. Raises UserError if missing."""
        for name in (*names, IMAGE):
            if self.folder.source(name).is_dataset:
                with self.naming(name):
                    shape = self.stored(name).shape or ()
                if shape:
                    return 1 if name == IMAGE and len(shape) == 2 else int(shape[0])
        return 0

    def column(self, name: str, expected: Dataset, shots: int) -> NDArray[Any]:
        """Return `name` as int64 or float64 (shots,). Raises Misfit if it breaks a rule."""
        source, blank = self.folder.source(name), raw_column.NOT_BLANK if self.blank is None else self.blank
        if not source.is_dataset:
            return raw_column.column(np.repeat(self._single(source), shots), source, expected, blank)
        values = self._keys[name] if name in self._keys else self._values(name, self.written(name))
        if values.ndim and len(values) != shots:
            raise Misfit("another number of rows than the frames", len(values), shots, SET_LAYOUT)
        if name in self._keys:
            return np.where(blank, -1, values)
        return raw_column.column(values if values.ndim else np.repeat(values, shots), source, expected, blank)

    def has(self, name: str) -> bool:
        """Return whether the file has `name`, maybe as one value of all shots."""
        source = self.folder.source(name)
        if source.path is None:
            named = source.file_name is not None and raw_column.number_in_name(self.path, source.file_name) is not None
            return named or source.value is not None
        return raw_dataset.located(self.file, source.path.partition("@")[0], self.folder)[0] is not None

    def _single(self, source: Source) -> NDArray[Any]:
        """Return the value of all shots (1,); 0 where there is none."""
        if source.file_name is not None:
            number = raw_column.number_in_name(self.path, source.file_name)
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

    def problems(self, required: Mapping[str, Dataset]) -> list[str]:
        """Return a line for each rule that `required` datasets break; reads metadata and, if it is required, the event key."""
        problems: list[str] = []
        rows: dict[str, int] = {}
        for name, expected in required.items():
            try:
                with self.naming(name):
                    count = self.rows(name, expected)
                    rows |= {} if count is None else {name: count}
            except UserError as error:
                problems.append(str(error))
        if len(set(rows.values())) > 1:
            usual = max(set(rows.values()), key=list(rows.values()).count)
            odd = ", ".join(f"{count} in {name}" for name, count in rows.items() if count != usual)
            problems.append(
                f"{self.path}: datasets differ in their number of rows (found {odd}, expected {usual}). Fix: {SET_LAYOUT}"
            )
        return problems or self._unwritten(required)

    def _unwritten(self, required: Mapping[str, Dataset]) -> list[str]:
        """Return a line for each of `required` datasets that lacks a shot."""
        problems = []
        try:
            self._find_blank_by(required)
        except UserError as error:
            return [str(error)]
        for name in required:
            if self.folder.source(name).is_dataset:
                try:
                    with self.naming(name):
                        self.written(name)
                except UserError as error:
                    problems.append(str(error))
        return problems

    def _find_blank_by(self, required: Mapping[str, Dataset]) -> None:
        if required.keys() >= set(EVENT_KEY):
            self.find_blank()
        else:
            self.find_unwritten(required)

    def columns(self, required: Mapping[str, Dataset], optional: Mapping[str, Dataset]) -> dict[str, NDArray[Any]]:
        """Return columns as `read_columns` does."""
        columns: dict[str, NDArray[Any]] = {}
        shots = self.shots(required)
        if self.blank is None:
            self._find_blank_by(required)
        for name, expected in {**required, **optional}.items():
            with self.naming(name):
                if name not in required:
                    if not self.has(name):
                        continue
                    self.rows(name, expected)
                may_lack = (
                    name not in required and name not in (TRUTH, *TRUE_PULSES) and self.folder.source(name).is_dataset
                )
                if may_lack and self.dataset(name).shape:
                    self._keys[name] = self._key(name)  # -1 in rows that have none
                columns[name] = self.column(name, expected, shots)
        self.folder.require_unchanged()
        return columns


def file_problems(path: Path, required: Mapping[str, Dataset], folder: Folder = ALONE) -> list[str]:
    """Return a line for each problem of a raw file; empty if there is none.

    Every `required` dataset must be where the layout of `folder` has it, of a kind and row shape that fit, with its data in the
    file or where the folder allows, and all must have the same number of rows. Reads metadata only, and no other dataset's.
    """
    try:
        with reading(path) as file:
            problems = RawFile(file, path, folder).problems(required)
    except UserError as error:
        return [str(error)]
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
    with reading(path) as file:
        return RawFile(file, path, folder).columns(required, optional or {})


def find_piece(path: Path, folder: Folder = ALONE) -> Piece:
    """Return where the camera frames of a raw file are. Raises UserError if they cannot be read."""
    with reading(path) as file:
        raw = RawFile(file, path, folder)
        with raw.naming(IMAGE):
            return raw.piece()


@dataclass(frozen=True)
class Inspection:
    """What a raw file has."""

    problems: list[str]  # a line each
    prediction: bool = False  # `xtcav predict` wrote it: it is no raw file
    slow: str | None = None  # why its frames are slow to read
    piece: Piece | None = None  # where its frames are, if there is no problem
    doubtful: bool = False  # a pixel of its type may be no number, or of more than 32 bits
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # if there is no problem
    parts: frozenset[Path] = frozenset()  # files that it refers to


def inspect(
    path: Path,
    frames: Dataset | None,
    required: Mapping[str, Dataset],
    optional: Mapping[str, Dataset],
    folder: Folder = ALONE,
) -> Inspection:
    """Return the `file_problems` of a raw file, and if there is none its columns as `read_columns` does.

    Its frames are not looked at if `frames` is None.
    """
    try:
        with reading(path) as file:
            if PREDICTED_BY in file.attrs:
                return Inspection([], prediction=True)
            raw = RawFile(file, path, folder)
            problems = raw.problems(required if frames is None else {**required, IMAGE: frames})
            if problems or frames is None:
                return Inspection(problems, columns={} if problems else raw.columns(required, optional))
            slow = raw_dataset.slow_chunks(raw.dataset(IMAGE))
            return Inspection(
                problems,
                slow=None if slow is None else f"{path}: {IMAGE}: {slow}",
                piece=raw.piece(),
                doubtful=not np.can_cast(raw.dataset(IMAGE).dtype, np.int32),
                columns=raw.columns(required, optional),
                parts=frozenset(raw.folder.parts),
            )
    except UserError as error:
        return Inspection([str(error)])
