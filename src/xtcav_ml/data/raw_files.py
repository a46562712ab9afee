"""A folder of raw shot files, checked before anything is read, as one table with a row a shot."""

import itertools
import os
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.data import DataParams
from xtcav_ml.config.prepare import PrepareParams
from xtcav_ml.config.schema import FILE, IMAGE, PEAKS_LABEL, SCHEMA, TRUTH, Dataset
from xtcav_ml.data.hdf5 import require_unchanged, state
from xtcav_ml.data.prepared import SHOT_COLUMNS
from xtcav_ml.data.raw_file import RawFrames, difference, file_problems, has_dataset, read_columns
from xtcav_ml.science import selection
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import counting

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5", ".nxs", ".cxi")
"""Names of what should be HDF5: such a file is listed even if it is not, so that a damaged one is not left out in silence."""


@dataclass(frozen=True)
class Listing:
    """The raw files of a folder and its subfolders in the order of their paths, and what else is there."""

    folder: Path
    files: tuple[Path, ...]
    ignored: tuple[Path, ...] = ()  # hidden, or no HDF5

    @property
    def note(self) -> str:
        """Return a sentence on what is ignored; nothing if nothing is."""
        names = [str(path.relative_to(self.folder)) for path in self.ignored]
        more = ", ..." if len(names) > NAMED else ""
        return f"ignored {len(names):,} hidden or not HDF5: {', '.join(names[:NAMED])}{more}" if names else ""


NAMED = 5
"""Ignored files that are named."""


@dataclass(frozen=True)
class RawSet:
    """The files, and their one-value-a-shot columns joined; `file` (an index of `files`) and `row` say whence."""

    listing: Listing
    files: tuple[Path, ...]
    names: tuple[str, ...]  # of the files: their paths in the folder
    states: tuple[tuple[int, ...], ...]  # `h5io.files.state` of each, as it was when it was checked
    columns: Mapping[str, NDArray[np.generic]]  # and schema.FILE: the name of the file in its folder
    file: NDArray[np.int64]
    row: NDArray[np.int64]
    bad: tuple[str, ...]  # a line for each problem of the files that are not in the set


def open_set(data: DataParams, prepare: PrepareParams) -> RawSet:
    """Return the raw set that params.yaml names. Reads metadata, labels and keys; no image.

    Bad are files that cannot be read, lack a dataset, have one of the wrong kind or shape, rows that differ, a label that
    is no class, or an infinite number to learn. Raises one UserError that lists them all, or leaves them out where
    `data.bad_files` says `skip`.
    """
    raw_set = survey(list_files(Path(data.raw)), data, prepare)
    if data.bad_files == "fail" or not raw_set.files:
        refuse(raw_set.bad)
    return raw_set


def survey(listing: Listing, data: DataParams, prepare: PrepareParams) -> RawSet:
    """Return the set of the good files of `listing`, with a line for every problem of the bad ones.

    What is read of a file later on is refused if it is not the file any more that was checked here.
    """
    frames = replace(SCHEMA[IMAGE], row_shape=data.frame_shape)
    required = {
        **{
            name: Dataset("number", (), "number to learn or feature")
            for name in (*prepare.regression, *prepare.features)
        },
        **{
            name: Dataset("i", (), "label or mask")
            for name in (prepare.label, *prepare.include, *prepare.exclude)
            if name
        },
        **{name: SCHEMA[name] for name in SHOT_COLUMNS},
        IMAGE: frames,
    }
    names = [name for name in required if name != IMAGE]
    known = {**SCHEMA, IMAGE: frames, TRUTH: SCHEMA[PEAKS_LABEL]}
    states = {file: state(file) for file in listing.files}
    problems = {file: file_problems(file, required, known) for file in listing.files}
    good: dict[Path, dict[str, NDArray[np.generic]]] = {}
    for file in (file for file in listing.files if not problems[file]):  # all are checked before one is read
        try:
            table = _plain(read_columns(file, [*names, *_truth(file, prepare)]))
            require_unchanged(file, states[file])
            problems[file] = value_problems(file, table, prepare)
        except UserError as error:
            problems[file] = [str(error)]
        if not problems[file]:
            good[file] = table
    rows = [len(table["run"]) for table in good.values()]
    if good and all(TRUTH in table for table in good.values()):
        names.append(TRUTH)
    columns = {
        name: np.concatenate([table[name] for table in good.values()] or [np.empty(0, np.int64)]) for name in names
    }
    in_folder = tuple(str(file.relative_to(listing.folder)) for file in good)
    columns[FILE] = np.repeat(np.array(in_folder, dtype=np.str_), rows)
    return RawSet(
        listing=listing,
        files=tuple(good),
        names=in_folder,
        states=tuple(states[file] for file in good),
        columns=columns,
        file=np.repeat(np.arange(len(good)), rows),
        row=np.concatenate([np.arange(count) for count in rows] or [np.empty(0, np.int64)]),
        bad=tuple(line for found in problems.values() for line in found),
    )


def _truth(file: Path, prepare: PrepareParams) -> list[str]:
    """Return the name of the true label, if the label is the one that it belongs to, and the file has it."""
    return [TRUTH] if prepare.label == PEAKS_LABEL and has_dataset(file, TRUTH) else []


def _plain(table: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
    """Return the columns as int64 or float64: of other types, those of two files could join as another one."""
    return {name: values.astype(np.float64 if values.dtype.kind == "f" else np.int64) for name, values in table.items()}


def value_problems(file: Path, table: Mapping[str, NDArray[np.generic]], prepare: PrepareParams) -> list[str]:
    """Return a line for each column whose values break a rule: labels that are no class, infinite numbers to learn."""
    found = label_problems(file, prepare.label, table[prepare.label], prepare.classes) if prepare.label else []
    for name in prepare.regression:
        bad = np.flatnonzero(np.isinf(table[name].astype(np.float64)))
        if len(bad):
            found.append(
                f"{file}: {name}: not a finite number (found {table[name][bad[0]]} in row {bad[0]}, {len(bad)} such rows). "
                "Fix: write NaN where there is none"
            )
    return found


def require_same_content(raw: RawSet) -> int:
    """Return how often a shot stands in the set again. Raises UserError if a dataset of it is not the same everywhere.

    Reads what stands twice, frames and all, and nothing else.
    """
    pairs = sorted(selection.duplicates(raw.columns), key=lambda pair: raw.file[list(pair)].tolist())
    with counting("shots that stand twice", len(pairs)) as advance:
        for (one, other), group in itertools.groupby(pairs, key=lambda pair: tuple(raw.file[list(pair)].tolist())):
            found = list(group)
            rows = [(int(raw.row[first]), int(raw.row[second])) for first, second in found]
            for number in (one, other):
                require_unchanged(raw.files[number], raw.states[number])
            wrong = difference(raw.files[one], raw.files[other], rows)
            if wrong is not None:
                name, place = wrong
                raise UserError(
                    f"{raw.files[one]} and {raw.files[other]}: {name}: shot "
                    f"{selection.event_key(raw.columns, found[place][0])} differs between the files (found in rows "
                    f"{rows[place][0]} and {rows[place][1]}). Fix: remove one of the files"
                )
            advance(len(found))
    return len(pairs)


class FrameReader:
    """Frames of a raw set at any row of its table, from any thread. Files stay open until `keep` leaves them out."""

    def __init__(self, raw: RawSet) -> None:
        self.raw, self._lock = raw, threading.Lock()
        self._open: dict[int, RawFrames] = {}

    def read(self, row: int) -> NDArray[np.int16]:
        """Return the frame (1, rows, columns), ADU, at `row` of the table."""
        number = int(self.raw.file[row])
        with self._lock:
            if number not in self._open:
                self._open[number] = RawFrames(self.raw.files[number], self.raw.states[number])
            file = self._open[number]
        return file.read(self.raw.row[row : row + 1])

    def keep(self, numbers: Collection[int]) -> None:
        """Close all files but those of these numbers, which nobody may be reading."""
        with self._lock:
            for number in self._open.keys() - set(numbers):
                self._open.pop(number).close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.keep(())


def list_files(folder: Path) -> Listing:
    """Return the HDF5 files in `folder` and its subfolders, by content: their names may end as they like.

    Raises UserError if a folder cannot be read or there are none.
    """
    files: list[Path] = []
    ignored: list[Path] = []
    try:
        for path in _walk(folder):
            (files if not _hidden(path, folder) and _is_raw(path) else ignored).append(path)
    except OSError as error:
        raise UserError(
            f"{error.filename}: not a readable folder of raw files ({error.strerror}). Fix: correct data.raw in "
            "params.yaml or the argument, or fetch the data with `dvc pull`"
        ) from None
    listing = Listing(folder, tuple(sorted(files)), tuple(sorted(ignored)))
    if not files:
        raise UserError(
            f"{folder}: no raw files (found {listing.note or 'nothing'}, expected HDF5). Fix: copy raw files there, or correct "
            "data.raw in params.yaml or the argument"
        )
    return listing


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below `folder`, through links too, each folder once. Raises OSError if one cannot be read."""

    def fail(error: OSError) -> None:
        raise error

    entered: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        here = Path(place).stat()
        if (here.st_dev, here.st_ino) in entered:  # by a link that leads up
            folders.clear()
            continue
        entered.add((here.st_dev, here.st_ino))
        folders.sort()
        yield from (Path(place, name) for name in names)


def _hidden(path: Path, folder: Path) -> bool:
    """Return whether a file, or a folder on the way to it, is hidden, as the companions that other systems leave (._x)."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _is_raw(path: Path) -> bool:
    """Return whether a file is, or by its name should be, HDF5; its signature may come after a block of the user's own."""
    if path.suffix.lower() in SUFFIXES:
        return True
    if not path.is_file():  # to open a pipe would be to wait for who writes to it
        return False
    try:
        with path.open("rb") as file:
            starts = itertools.takewhile(lambda start: start < path.stat().st_size, (0, *(512 << n for n in range(32))))
            return any(os.pread(file.fileno(), len(SIGNATURE), start) == SIGNATURE for start in starts)
    except OSError:
        return True  # nobody knows what it is: `file_problems` says that it cannot be read


def label_problems(
    file: Path,
    name: str,
    labels: NDArray[np.generic],
    classes: Sequence[str],
    cure: str = "label these shots -1, or name more classes in prepare.classes",
) -> list[str]:
    """Return a line, with the `cure`, if labels are neither -1 (none could be made) nor the number of a class."""
    bad = np.flatnonzero((labels.astype(np.int64) < -1) | (labels.astype(np.int64) >= len(classes)))
    if not len(bad):
        return []
    return [
        f"{file}: {name}: not a class (found {labels[bad[0]]} in row {bad[0]}, {len(bad)} such rows, expected -1 to "
        f"{len(classes) - 1}). Fix: {cure}"
    ]


def require_run(raw: RawSet, run: int) -> NDArray[np.int64]:
    """Return the rows of the table that belong to `run`. Raises UserError if there are none."""
    rows = np.flatnonzero(raw.columns["run"] == run)
    if not len(rows):
        held = ", ".join(map(str, np.unique(raw.columns["run"])))
        raise UserError(
            f"prepare.dark_run: no such run in the raw files (found {run}, expected one of {held}). Fix: name the dark run, or "
            "set null and remove the steps of prepare.images that need it"
        )
    return rows


def refuse(found: Sequence[str]) -> None:
    """Raise one UserError that holds all problems, if there are any."""
    if found:
        raise UserError(
            "; ".join(found) if len(found) < 3 else f"{len(found)} problems in raw files: " + "; ".join(found)
        )
