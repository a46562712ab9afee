"""relabel: labels and peaks from the waveforms by the rule of params.yaml, compared with those that the files hold."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.layout import NOTES, Layout
from xtcav_ml.config.peaks import PeakRule
from xtcav_ml.config.schema import (
    ENERGY_AMPLITUDES,
    ENERGY_CLASSES,
    ENERGY_LABEL,
    EVENT_KEY,
    PEAK_CLASSES,
    PEAKS_LABEL,
    SCHEMA,
    WAVEFORMS,
    Dataset,
)
from xtcav_ml.data import raw_files
from xtcav_ml.data.apart import Apart
from xtcav_ml.data.hdf5 import create_rows, creating
from xtcav_ml.data.listing import list_files, predictions
from xtcav_ml.data.raw_dataset import Folder
from xtcav_ml.data.raw_file import file_problems, read_columns
from xtcav_ml.science import labels
from xtcav_ml.system.progress import console, counting, titled_table

REQUIRED = (
    {name: SCHEMA[name] for name in (WAVEFORMS, "bld.L3energy")} | {PEAKS_LABEL: raw_files.LABEL} | raw_files.KEYS
)

ENERGY = {name: Dataset("f", (), "amplitude of an energy peak") for name in ENERGY_AMPLITUDES} | {
    ENERGY_LABEL: raw_files.LABEL
}
"""Datasets of the energy peaks, which files may lack."""

SHOTS = 1024  # whose waveforms are copied at a time


def relabel_folder(folder: Path, rule: PeakRule, out: Path | None, layout: Layout = NOTES) -> NDArray[np.int64]:
    """Print how far the rule agrees with the labels in `folder`; with `out`, write labels and peaks to that HDF5 file.

    Leaves out rows without an event key, and does not write keys that files of `layout` lack. Returns counts of shots (stored
    label, computed label), each axis from -1, no label, to the last class. Raises UserError if the folder or a file cannot be
    read, waveforms, L3 energy or labels are missing, or a stored label is not a class.
    """
    listing, place = list_files(folder), Folder(folder, layout)
    listing = listing.without(predictions(listing.files))
    with Apart(lambda file: file_problems(file, REQUIRED, place), lambda line: [line], place.states) as look:
        problems = dict(zip(listing.files, look.each(listing.files), strict=True))
    listing = raw_files.without_parts(listing, place, problems)
    raw_files.refuse({file: problems[file] for file in listing.files})
    columns, blank = _relabelled(listing.files, rule, place)
    screen = console()
    counts = _compared(columns.pop("stored"), columns[PEAKS_LABEL], PEAK_CLASSES, f"{folder}: stored labels")
    if ENERGY_LABEL in columns:
        _compared(columns.pop("stored energy"), columns[ENERGY_LABEL], ENERGY_CLASSES, f"{folder}: {ENERGY_LABEL}")
    for note in filter(None, (listing.note, f"{blank:,} rows have no event key" if blank else "")):
        screen.print(f"left out: {note}")
    if out is not None:
        with creating(out) as file:
            for name, values in columns.items():
                create_rows(file, name, len(values), (), values.dtype)[:] = values
        screen.print(f"labels, peaks and event keys -> {out}")
    return counts


def _compared(
    stored: NDArray[np.generic], computed: NDArray[np.generic], classes: Sequence[str], title: str
) -> NDArray[np.int64]:
    """Print and return counts of shots (stored label, computed label), each axis from -1, no label, to the last class."""
    names = ("no label", *classes)
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, (stored.astype(np.int64) + 1, computed.astype(np.int64) + 1), 1)
    table = titled_table(f"{title} (rows) against the rule's (columns)", ("", *names))
    for name, row in zip(names, counts, strict=True):
        table.add_row(name, *(f"{count:,}" for count in row))
    console().print(table)
    share = counts.trace() / max(counts.sum(), 1)
    console().print(f"the rule gives the stored label in {share:.2%} of {counts.sum():,} shots")
    return counts


def _relabelled(files: Sequence[Path], rule: PeakRule, place: Folder) -> tuple[dict[str, NDArray[np.generic]], int]:
    """Return the keys, the stored label, and the label and peaks by the rule, and the number of rows without a key.

    Raises UserError if a file cannot be read, or a stored label is not a class.
    """
    reading = Apart(lambda file: _read(file, rule, place), kept=place.states)
    with reading as read, counting("files", len(files)) as advance:
        tables, problems = [], {}
        for file, (table, wrong) in zip(files, read.each(files), strict=True):
            tables.append(table)
            problems[file] = wrong
            advance(1)
    raw_files.refuse(problems)
    common = [name for name in tables[0] if all(name in table for table in tables)]
    joined = {name: np.concatenate([table[name] for table in tables]) for name in common}
    keyed = joined.pop("keyed")
    return {name: values[keyed] for name, values in joined.items()}, int((~keyed).sum())


def _read(file: Path, rule: PeakRule, place: Folder) -> tuple[dict[str, NDArray[np.generic]], list[str]]:
    """Return the same of one file, with which rows are `keyed`, and a line for stored labels that are no class."""
    columns = read_columns(file, REQUIRED, folder=place)
    stored = columns[PEAKS_LABEL]
    waveforms, energy = (cast(NDArray[np.floating], columns[name]) for name in (WAVEFORMS, "bld.L3energy"))
    some = [slice(first, first + SHOTS) for first in range(0, max(len(stored), 1), SHOTS)]
    found = [labels.find_peaks(waveforms[rows], energy[rows], rule) for rows in some]
    position, amplitude = (
        np.concatenate([getattr(one, name) for one in found], 1) for name in ("position", "amplitude")
    )
    table = {
        **{name: columns[name] for name in raw_files.KEYS if not place.source(name).absent},
        "stored": stored,
        PEAKS_LABEL: labels.peaks_label(labels.Peaks(position, amplitude)),
        **{f"acq.{name}.pos": position[i] for i, name in enumerate(labels.PEAKS)},
        **{f"acq.{name}.ampl": amplitude[i] for i, name in enumerate(labels.PEAKS)},
        "keyed": columns[EVENT_KEY[0]] != -1,
    }
    wrong = raw_files.label_problems(file, PEAKS_LABEL, stored, PEAK_CLASSES, "label these shots -1")
    if not file_problems(file, ENERGY, place):
        peaks = read_columns(file, ENERGY, folder=place)
        first, second = (cast(NDArray[np.floating], peaks[name]) for name in ENERGY_AMPLITUDES)
        table |= {"stored energy": peaks[ENERGY_LABEL], ENERGY_LABEL: labels.energy_label(first, second, rule)}
        wrong += raw_files.label_problems(
            file, ENERGY_LABEL, peaks[ENERGY_LABEL], ENERGY_CLASSES, "label these shots -1"
        )
    return table, wrong
