"""A folder of raw shot files as one table with a row a shot; every file is checked before one is read."""

import contextlib
import itertools
import re
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.data import DataParams
from xtcav_ml.config.layout import Layout
from xtcav_ml.config.prepare import PrepareParams
from xtcav_ml.config.schema import EVENT_KEY, FILE, IMAGE, PEAKS_LABEL, SCHEMA, TRUE_PULSES, TRUTH, Dataset
from xtcav_ml.data import structure
from xtcav_ml.data.apart import Apart
from xtcav_ml.data.hdf5 import file_state, real, require_unchanged
from xtcav_ml.data.listing import Listing, list_files
from xtcav_ml.data.prepared import SHOT_COLUMNS
from xtcav_ml.data.raw_dataset import Folder
from xtcav_ml.data.raw_file import KEY, Inspection, Piece, inspect
from xtcav_ml.data.raw_frames import RawFrames
from xtcav_ml.science import selection
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import counting

NUMBER, LABEL = Dataset("f", (), "number to learn or feature"), Dataset("label", (), "label or mask")
KEYS = {name: SCHEMA[name] for name in SHOT_COLUMNS} | dict.fromkeys(EVENT_KEY, KEY)

MOST_KINDS = 15  # kinds of problems that are shown
VALUES = re.compile(r"[(]found .*?, (?=expected )")
MISSING = ": missing ("


@dataclass(frozen=True)
class RawSet:
    """The good files, and their columns with one value a shot, joined."""

    listing: Listing
    folder: Folder
    files: tuple[Path, ...]
    names: tuple[str, ...]  # of the files: their paths in the folder
    states: tuple[tuple[int, ...], ...]  # `hdf5.file_state` of each, as it was when it was checked
    columns: Mapping[str, NDArray[np.generic]]  # and schema.FILE: the name of the file in its folder
    file: NDArray[np.int64]  # of each shot, an index of `files`
    row: NDArray[np.int64]  # of each shot, in its file
    pieces: tuple[Piece | None, ...]  # of the files, where their frames are; None where none are read
    parts: tuple[frozenset[Path], ...]  # of the files, those that each refers to; none where no frames are read
    slow: Mapping[Path, tuple[str, ...]]  # why the frames of a file are slow to read
    doubtful: tuple[
        int, ...
    ]  # numbers of the files in which a pixel may be no number: their frames must be read to know
    bad: Mapping[Path, tuple[str, ...]]  # the problems of the other files, a line each

    def frames(self, number: int) -> RawFrames:
        """Return the frames of a file, to be closed. Raises UserError if it has changed since it was checked."""
        return RawFrames(self.files[number], self.states[number], self.folder, self.pieces[number])


def open_set(data: DataParams, prepare: PrepareParams) -> RawSet:
    """Return the raw set that params.yaml names. Reads metadata, labels and keys; no image.

    Bad are files that cannot be read, lack a dataset, have one of the wrong kind or shape, or hold a label that is no
    class or an infinite number to learn. Raises one UserError that lists them all, or leaves them out where
    `data.bad_files` is `skip`.
    """
    raw_set = survey(list_files(Path(data.raw)), data, prepare)
    if data.bad_files == "fail" or not raw_set.files:
        refuse(raw_set.bad)
    return raw_set


def survey(listing: Listing, data: DataParams, prepare: PrepareParams) -> RawSet:
    """Return the set of the good files of `listing`, with a line for every problem of the bad ones.

    A file that changes after it was checked here is refused when it is read.
    """
    folder = Folder(listing.folder, data.layout)
    required = required_columns(prepare)
    truth = {TRUTH: LABEL} if prepare.label == PEAKS_LABEL else {}  # the true value of this label
    truth |= dict.fromkeys(TRUE_PULSES, NUMBER) if truth and data.simulated else {}
    frames = None if data.frame_shape is None else replace(SCHEMA[IMAGE], row_shape=data.frame_shape)
    states = {file: file_state(file) for file in listing.files}
    inspected: dict[Path, Inspection] = {}
    looking = Apart(
        lambda file: inspect(file, frames, required, truth, folder), lambda line: Inspection([line]), folder.states
    )
    with looking as look, counting("files", len(listing.files)) as advance:
        for file, inspection in zip(listing.files, look.each(listing.files), strict=True):
            inspected[file] = inspection
            advance(1)
    listing = listing.without([file for file in listing.files if inspected[file].prediction])
    listing = without_parts(listing, folder, {file: inspected[file].problems for file in listing.files})
    problems = {
        file: inspected[file].problems or value_problems(file, inspected[file].columns, prepare)
        for file in listing.files
    }
    good = {file: inspected[file].columns for file in listing.files if not problems[file]}
    rows = [len(table["run"]) for table in good.values()]
    names = [
        *required,
        *(name for name in truth if name not in required and good and all(name in table for table in good.values())),
    ]
    columns = {
        name: np.concatenate([table[name] for table in good.values()] or [np.empty(0, np.int64)]) for name in names
    }
    in_folder = tuple(str(file.relative_to(listing.folder)) for file in good)
    columns[FILE] = np.repeat(np.array(in_folder, dtype=np.str_), rows)
    _complete(columns, data.layout)
    return RawSet(
        listing=listing,
        folder=folder,
        files=tuple(good),
        names=in_folder,
        states=tuple(states[file] for file in good),
        columns=columns,
        file=np.repeat(np.arange(len(good)), rows),
        row=np.concatenate([np.arange(count) for count in rows] or [np.empty(0, np.int64)]),
        pieces=tuple(inspected[file].piece for file in good),
        parts=tuple(inspected[file].parts for file in good),
        slow={file: (line,) for file in good if (line := inspected[file].slow)},
        doubtful=tuple(number for number, file in enumerate(good) if inspected[file].doubtful),
        bad={file: tuple(problems[file]) for file in listing.files if problems[file]},
    )


def without_parts(listing: Listing, folder: Folder, problems: Mapping[Path, Sequence[str]]) -> Listing:
    """Return the listing without the files that datasets of others lie in, where the layout allows that.

    Such a file is no raw file if a dataset was read from it, or if it would be a bad one and a good one has any dataset there.
    """
    if folder.root is None:
        return listing
    bad = {real(file) for file in listing.files if problems[file]}
    good = [file for file in listing.files if not problems[file]]
    return listing.without({*folder.states, *(structure.parts_of(good) & bad if bad else ())})


def required_columns(prepare: PrepareParams) -> dict[str, Dataset]:
    """Return the datasets of one value a shot that params.yaml asks for, and the keys of a shot."""
    numbers = dict.fromkeys((*prepare.regression, *prepare.features, *prepare.within), NUMBER)
    labels = dict.fromkeys(filter(None, (prepare.label, *prepare.include, *prepare.exclude)), LABEL)
    return numbers | labels | KEYS


def _complete(columns: dict[str, NDArray[Any]], layout: Layout) -> None:
    """Fill in the keys that files lack: the position in the run by time, else by file and row, and from it the event key."""
    if layout.source("run.index").absent:
        keys = [columns[name] for name in ("run", *EVENT_KEY)]
        if not layout.identifies:
            keys.append(np.arange(len(columns["run"])))  # files and rows are in order
        shot = np.unique(np.stack(keys, axis=1), axis=0, return_inverse=True)[1].ravel()  # the same for repeated ones
        order = np.lexsort([shot, columns["run"]])
        first = np.searchsorted(columns["run"][order], columns["run"][order])
        columns["run.index"][order] = shot[order] - shot[order][first]
    if not layout.identifies:
        columns[EVENT_KEY[1]], columns[EVENT_KEY[2]] = columns["run"], columns["run.index"]


def value_problems(file: Path, table: Mapping[str, NDArray[np.generic]], prepare: PrepareParams) -> list[str]:
    """Return a line for each column whose values break a rule: labels that are no class, infinite numbers to learn."""
    lines = label_problems(file, prepare.label, table[prepare.label], prepare.classes) if prepare.label else []
    for name in prepare.regression:
        bad = np.flatnonzero(np.isinf(table[name].astype(np.float64)))
        if len(bad):
            lines.append(
                f"{file}: {name}: not a finite number (found {table[name][bad[0]]} in row {bad[0]}, {len(bad)} such rows, "
                "expected a number or NaN). Fix: write NaN where there is none"
            )
    return lines


def require_pixels(raw: RawSet, rows: NDArray[np.int64]) -> None:
    """Raise UserError if a pixel of the shots at `rows` of the table is no number, or one of more than 32 bits.

    Reads the frames of `doubtful` files, and nothing else.
    """
    wanted = {number: rows[raw.file[rows] == number] for number in raw.doubtful}
    problems: dict[Path, tuple[str, ...]] = {}
    with counting("frames that may hold no numbers", sum(map(len, wanted.values()))) as advance:
        for number, of in wanted.items():
            with raw.frames(number) as frames:
                line = frames.pixel_problem(raw.row[of], advance)
            problems |= {} if line is None else {raw.files[number]: (line,)}
    refuse(problems)


def require_same_content(raw: RawSet) -> int:
    """Return the number of repeated shots. Raises UserError if a dataset of one differs between its files.

    Reads the repeated shots, frames and all, and nothing else.
    """
    pairs = sorted(selection.duplicates(raw.columns), key=lambda pair: raw.file[list(pair)].tolist())
    with counting("repeated shots", len(pairs)) as advance:
        for (one, other), group in itertools.groupby(pairs, key=lambda pair: tuple(raw.file[list(pair)].tolist())):
            shots = list(group)
            rows = [(int(raw.row[first]), int(raw.row[second])) for first, second in shots]
            for number in (one, other):
                require_unchanged(raw.files[number], raw.states[number])
            pair = None if raw.pieces[one] is None else _other_frame(raw, one, other, rows)
            if pair is not None:
                raise UserError(
                    f"{raw.files[one]} and {raw.files[other]}: {IMAGE}: shot "
                    f"{selection.event_key(raw.columns, shots[pair][0])} differs between the files (found different values in "
                    f"rows {rows[pair][0]} and {rows[pair][1]}, expected equal ones). Fix: remove one of the files"
                )
            advance(len(shots))
    return len(pairs)


def _other_frame(raw: RawSet, one: int, other: int, rows: Sequence[tuple[int, int]]) -> int | None:
    """Return the number of the first pair of rows whose frames differ between two files, None if all are the same."""
    with raw.frames(one) as first, raw.frames(other) as second:
        for number, (row, other_row) in enumerate(rows):
            if not np.array_equal(first.read(np.array([row])), second.read(np.array([other_row]))):
                return number
    return None


class FrameReader(contextlib.AbstractContextManager["FrameReader"]):
    """Frames of a raw set at any row of its table, from any thread. Files stay open until `keep` leaves them out."""

    def __init__(self, raw: RawSet) -> None:
        self.raw, self._lock = raw, threading.Lock()
        self._open: dict[int, RawFrames] = {}

    def read(self, row: int) -> NDArray[Any]:
        """Return the frame (1, rows, columns), ADU, at `row` of the table."""
        number = int(self.raw.file[row])
        with self._lock:
            if number not in self._open:
                self._open[number] = self.raw.frames(number)
            file = self._open[number]
        return file.read(self.raw.row[row : row + 1])

    def keep(self, numbers: Collection[int]) -> None:
        """Close all files but those of these numbers; no thread may be reading the others."""
        with self._lock:
            for number in self._open.keys() - set(numbers):
                self._open.pop(number).close()

    def __exit__(self, *_: object) -> None:
        self.keep(())


def label_problems(
    file: Path,
    name: str,
    labels: NDArray[np.generic],
    classes: Sequence[str],
    cure: str = "label these shots -1, or name more classes in prepare.classes",
) -> list[str]:
    """Return a line, with the `cure`, if labels are neither -1 (no label) nor the number of a class."""
    bad = np.flatnonzero((labels.astype(np.int64) < -1) | (labels.astype(np.int64) >= len(classes)))
    if not len(bad):
        return []
    return [
        f"{file}: {name}: not a class (found {labels[bad[0]]} in row {bad[0]}, {len(bad)} such rows, expected -1 to "
        f"{len(classes) - 1}). Fix: {cure}"
    ]


def require_run(raw: RawSet, run: int) -> NDArray[np.int64]:
    """Return the rows of the table that belong to `run`. Raises UserError if there are none, or they are of two experiments."""
    rows = np.flatnonzero(raw.columns["run"] == run)
    if not len(rows):
        runs = ", ".join(map(str, np.unique(raw.columns["run"][selection.keyed(raw.columns)])))
        raise UserError(
            f"prepare.dark_run: no such run in the raw files (found {run}, expected one of {runs}). Fix: name the dark run, or "
            "set null and remove the steps of prepare.images that need it"
        )
    _require_one_experiment(raw, run, rows)
    return rows


def _require_one_experiment(raw: RawSet, run: int, rows: NDArray[np.int64]) -> None:
    """Raise UserError if shots of other runs were taken between the first and the last one of `run`, which is at `rows`.

    A run is never interrupted by another one, however many files it is spread over: two experiments have used its number.
    """
    times = raw.columns["evt.seconds"].astype(np.int64) * 10**9 + raw.columns["evt.nanoseconds"].astype(np.int64)
    first, last = rows[times[rows].argmin()], rows[times[rows].argmax()]
    between = np.flatnonzero((raw.columns["run"] != run) & (times > times[first]) & (times < times[last]))
    if len(between):
        one, other, third = (raw.names[raw.file[row]] for row in (first, last, between[0]))
        raise UserError(
            f"prepare.dark_run: run {run} is of two experiments (found shots of it in {one} and {other}, and of run "
            f"{raw.columns['run'][between[0]]} in {third} taken between them, expected one run without a break). Fix: keep the "
            "files of each experiment in a folder of its own, and name one in data.raw"
        )


def refuse(problems: Mapping[Path, Sequence[str]]) -> None:
    """Raise one UserError that holds all problems, if there are any."""
    lines = grouped(problems)
    if lines:
        raise UserError("; ".join(lines))


def grouped(problems: Mapping[Path, Sequence[str]]) -> list[str]:
    """Return a line for each kind of problem in files, with the values of the first file, the commonest kinds first.

    Kinds differ in all but the file and the values. Datasets that are missing together are one problem.
    """
    kinds: dict[str, list[tuple[Path, str]]] = {}
    for file, lines in problems.items():
        for line in _joined([line.removeprefix(f"{file}: ") for line in lines]):
            kinds.setdefault(VALUES.sub("(", line), []).append((file, line))
    ordered = sorted(kinds.values(), key=len, reverse=True)
    shown = [f"{_some([file for file, _ in kind])}: {kind[0][1]}" for kind in ordered[:MOST_KINDS]]
    rest = sum(map(len, ordered[MOST_KINDS:]))
    return [*shown, f"and {rest:,} problems of {len(ordered) - MOST_KINDS} other kinds"] if rest else shown


def _joined(lines: Sequence[str]) -> list[str]:
    """Return the lines of one file, with one for all datasets that are missing, first."""
    missing, others = [line for line in lines if MISSING in line], [line for line in lines if MISSING not in line]
    if not missing:
        return others
    names = ", ".join(line.partition(MISSING)[0] for line in missing)
    return [f"{names}{MISSING}{missing[0].partition(MISSING)[2]}", *others]


def _some(files: Sequence[Path]) -> str:
    more = f" and {len(files) - 2:,} more files" if len(files) > 3 else ""
    return ", ".join(map(str, files[: 2 if more else 3])) + more
