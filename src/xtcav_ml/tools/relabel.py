"""relabel: labels and peaks from the waveforms by the rule of params.yaml, beside those that the files hold."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from xtcav_ml.config.peaks import PeakRule
from xtcav_ml.config.schema import EVENT_KEY, PEAK_CLASSES, PEAKS_LABEL, SCHEMA, WAVEFORMS
from xtcav_ml.data import raw_files
from xtcav_ml.data.hdf5 import create_rows, creating
from xtcav_ml.data.raw_file import file_problems, read_columns
from xtcav_ml.science import labels
from xtcav_ml.system.progress import console, counting

NEEDED = (WAVEFORMS, "bld.L3energy", PEAKS_LABEL, "run", "run.index", *EVENT_KEY)
VALUES = tuple(range(-1, len(PEAK_CLASSES)))
"""What a label may be: -1 where none could be made, or the number of a class."""


@dataclass(frozen=True)
class Agreement:
    """Stored against computed labels: counts (stored, computed) in the order of VALUES."""

    counts: NDArray[np.int64]

    @property
    def share(self) -> float:
        """Return the part of the shots whose label is the stored one; NaN if there are no shots."""
        total = self.counts.sum()
        return float(self.counts.trace() / total) if total else float("nan")


def run(folder: Path, rule: PeakRule, out: Path | None) -> Agreement:
    """Print how far the rule agrees with the labels in `folder`; with `out`, write what it finds to that HDF5 file.

    Raises UserError if the folder or a file cannot be read, waveforms, L3 energy or labels are missing, or a label is none.
    """
    files = raw_files.list_files(folder).files
    required = {name: SCHEMA[name] for name in NEEDED}
    raw_files.refuse([problem for file in files for problem in file_problems(file, required, {})])
    raw_files.refuse([problem for file in files for problem in _label_problems(file)])
    tables = list(_relabelled(files, rule))
    stored = np.concatenate([table["stored"] for table in tables]).astype(np.int64)
    computed = np.concatenate([table[PEAKS_LABEL] for table in tables]).astype(np.int64)
    counts = np.zeros((len(VALUES), len(VALUES)), dtype=np.int64)
    np.add.at(counts, (stored + 1, computed + 1), 1)
    found = Agreement(counts)
    _show(found, folder)
    if out is not None:
        _write(out, {name: np.concatenate([table[name] for table in tables]) for name in tables[0] if name != "stored"})
        console().print(f"labels, peaks and event keys -> {out}")
    return found


def _label_problems(file: Path) -> list[str]:
    stored = read_columns(file, [PEAKS_LABEL])[PEAKS_LABEL]
    return raw_files.label_problems(file, PEAKS_LABEL, stored, PEAK_CLASSES, "label these shots -1")


def _relabelled(files: Sequence[Path], rule: PeakRule) -> Iterator[dict[str, NDArray[np.generic]]]:
    """Yield, file by file, the keys, the stored label, and the label and peaks by the rule."""
    with counting("files", len(files)) as advance:
        for file in files:
            columns = read_columns(file, NEEDED)
            waveforms, energy = (cast(NDArray[np.floating], columns[name]) for name in (WAVEFORMS, "bld.L3energy"))
            peaks = labels.find_peaks(waveforms, energy, rule)
            yield {
                **{name: columns[name] for name in ("run", "run.index", *EVENT_KEY)},
                "stored": columns[PEAKS_LABEL],
                PEAKS_LABEL: labels.peaks_label(peaks),
                **{f"acq.{name}.pos": peaks.position[i] for i, name in enumerate(labels.PEAKS)},
                **{f"acq.{name}.ampl": peaks.amplitude[i] for i, name in enumerate(labels.PEAKS)},
            }
            advance(1)


def _write(out: Path, columns: Mapping[str, NDArray[np.generic]]) -> None:
    with creating(out) as file:
        for name, values in columns.items():
            create_rows(file, name, len(values), (), values.dtype)[:] = values


def _show(found: Agreement, folder: Path) -> None:
    names = ("no label", *PEAK_CLASSES)
    table = Table(
        title=f"{folder}: stored labels (rows) against the rule's (columns)", title_justify="left", title_style=""
    )
    for heading in ("", *names):
        table.add_column(heading, justify="right")
    for name, row in zip(names, found.counts, strict=True):
        table.add_row(name, *(f"{count:,}" for count in row))
    screen = console()
    screen.print(table)
    screen.print(f"the rule gives the stored label in {found.share:.2%} of {found.counts.sum():,} shots")
