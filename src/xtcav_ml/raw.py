"""A folder of raw shot files, checked before anything is read, as one table with a row a shot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.errors import UserError
from xtcav_ml.h5io.prepared import SHOT_COLUMNS
from xtcav_ml.h5io.rawfile import file_problems, read_columns
from xtcav_ml.params.data import DataParams
from xtcav_ml.params.prepare import PrepareParams
from xtcav_ml.shots import IMAGE, SCHEMA, Dataset

SUFFIXES = (".h5", ".hdf5")


@dataclass(frozen=True)
class RawSet:
    """The files, and their one-value-a-shot columns joined; `file` (an index of `files`) and `row` say whence."""

    files: tuple[Path, ...]
    columns: Mapping[str, NDArray[np.generic]]
    file: NDArray[np.int64]
    row: NDArray[np.int64]
    bad: tuple[str, ...] = ()  # a line for each problem of the files that are not in the set


def open_set(data: DataParams, prepare: PrepareParams) -> RawSet:
    """Return the raw set that params.yaml names. Reads metadata, labels and keys; no image.

    Bad are files that cannot be read, lack a dataset, have one of the wrong kind or shape, rows that differ, or a label that
    is no class. Raises one UserError that lists them all, or leaves them out where `data.bad_files` says `skip`.
    """
    raw_set = survey(list_files(Path(data.raw)), data, prepare)
    if data.bad_files == "fail" or not raw_set.files:
        refuse(raw_set.bad)
    return raw_set


def survey(files: Sequence[Path], data: DataParams, prepare: PrepareParams) -> RawSet:
    """Return the set of the good ones of `files`, with a line for every problem of the bad ones."""
    frames = replace(SCHEMA[IMAGE], row_shape=data.frame_shape)
    chosen = {name: Dataset("i", (), "label or mask") for name in (prepare.label, *prepare.include, *prepare.exclude)}
    required = {**chosen, **{name: SCHEMA[name] for name in SHOT_COLUMNS}, IMAGE: frames}
    names = [name for name in required if name != IMAGE]
    good: dict[Path, dict[str, NDArray[np.int64]]] = {}
    problems: list[str] = []
    for file in files:
        found = file_problems(file, required, {**SCHEMA, IMAGE: frames})
        if not found:
            # one type, or unsigned and signed integers of two files would join as floating point numbers
            table = {name: values.astype(np.int64) for name, values in read_columns(file, names).items()}
            found = label_problems(file, prepare.label, table[prepare.label], prepare.classes)
            if not found:
                good[file] = table
        problems += found
    rows = [len(table["run"]) for table in good.values()]
    empty = [np.empty(0, dtype=np.int64)]
    return RawSet(
        files=tuple(good),
        columns={name: np.concatenate([table[name] for table in good.values()] or empty) for name in names},
        file=np.repeat(np.arange(len(good)), rows),
        row=np.concatenate([np.arange(count) for count in rows] or empty),
        bad=tuple(problems),
    )


def list_files(folder: Path) -> list[Path]:
    """Return the HDF5 files in `folder`, by name. Raises UserError if it cannot be read or holds none."""
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    except OSError as error:
        raise UserError(
            f"data.raw: must be a folder of shot files that can be read, got {str(folder)!r} ({error.strerror}); "
            "mend the path in params.yaml, or fetch the data with `dvc pull`"
        ) from None
    if not files:
        raise UserError(
            f"data.raw: must hold files that end in {' or '.join(SUFFIXES)}, got none in {str(folder)!r}; "
            "copy shot files there, or mend the path in params.yaml"
        )
    return files


def label_problems(file: Path, name: str, labels: NDArray[np.generic], classes: Sequence[str]) -> list[str]:
    """Return a line if labels are neither -1 (none could be made) nor the number of a class."""
    bad = np.flatnonzero((labels.astype(np.int64) < -1) | (labels.astype(np.int64) >= len(classes)))
    if not len(bad):
        return []
    return [
        f"{file}: {name}: must be -1 to {len(classes) - 1}, got {labels[bad[0]]} in row {bad[0]} ({len(bad)} such rows); "
        "label these shots -1, or name more classes in prepare.classes"
    ]


def require_run(raw: RawSet, run: int) -> NDArray[np.int64]:
    """Return the rows of the table that belong to `run`. Raises UserError if there are none."""
    rows = np.flatnonzero(raw.columns["run"] == run)
    if not len(rows):
        held = ", ".join(map(str, np.unique(raw.columns["run"])))
        raise UserError(
            f"prepare.dark_run: must be one of the runs in the raw files ({held}), got {run}; name the dark run, or set "
            "null and remove subtract_dark from prepare.images"
        )
    return rows


def refuse(found: Sequence[str]) -> None:
    """Raise one UserError that holds all problems, if there are any."""
    if found:
        raise UserError(
            "; ".join(found) if len(found) < 3 else f"{len(found)} problems in raw files: " + "; ".join(found)
        )
