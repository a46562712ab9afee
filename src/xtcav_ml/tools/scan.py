"""scan: what is in a folder of shot files, from metadata alone: no image is read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.data import DataParams
from xtcav_ml.config.params_file import write_values
from xtcav_ml.config.prepare import PrepareParams
from xtcav_ml.config.schema import IMAGE
from xtcav_ml.data import raw_files
from xtcav_ml.data.listing import Listing, list_files
from xtcav_ml.science import selection
from xtcav_ml.system.errors import UserError, brief
from xtcav_ml.system.progress import console, titled_table
from xtcav_ml.tools import propose


def scan_folder(
    folder: Path, data: DataParams, prepare: PrepareParams, as_json: bool, params_file: Path | None = None
) -> bool:
    """Print the contents of `folder`, as a table or as JSON. Returns whether all files are good, or can be read now.

    Of files that do not fit data.layout, prints the datasets, and a layout that fits; with `params_file`, writes it there.
    Raises UserError if the folder cannot be read or a shot occurs twice with different labels.
    """
    counts = count_shots(list_files(folder), data, prepare)
    if as_json:
        print(json.dumps(counts, indent=2))
    else:
        _print(counts, folder, prepare.label)
        _print_structures(counts)
    changes = counts["proposal"]
    if params_file is None or not changes:
        return not counts["bad_files"]
    write_values(params_file, changes | {"data.raw": str(folder)})
    console().print(f"wrote {', '.join(changes)} and data.raw to {params_file}; run `xtcav scan` again")
    return True


def count_shots(listing: Listing, data: DataParams, prepare: PrepareParams) -> dict[str, Any]:
    """Return counts of files, shots, labels, shots left out and shots that `prepare` would keep in each set, and problems."""
    raw_set = raw_files.survey(listing, data, prepare)
    rows, left_out = selection.usable(raw_set.columns, prepare)
    labels = np.empty(0, np.int64) if prepare.label is None else raw_set.columns[prepare.label][rows].astype(np.int64)
    counts = np.bincount(labels, minlength=len(prepare.classes))
    kept: dict[str, NDArray[np.int64]] = {}
    refused = None
    try:
        kept = selection.select(raw_set.columns, prepare).splits
    except UserError as error:
        refused = str(error)
    runs, shots = np.unique(raw_set.columns["run"][selection.keyed(raw_set.columns)], return_counts=True)
    total, usable = len(raw_set.row), len(rows)
    return {
        "files": len(raw_set.listing.files),
        "bad_files": len(raw_set.bad),
        "ignored": raw_set.listing.note,
        "problems": raw_files.grouped(raw_set.bad),
        "slow": raw_files.grouped(raw_set.slow),
        "unread": len(raw_set.doubtful),
        "shots": total,
        "shots_by_run": {str(run): int(count) for run, count in zip(runs, shots, strict=True)},
        "left_out": left_out,
        "usable": usable,
        "labels": {
            name: {
                "shots": int(count),
                "share": count / usable if usable else None,
                "kept": {split: int((raw_set.columns[prepare.label][of] == value).sum()) for split, of in kept.items()},
            }
            for value, (name, count) in enumerate(zip(prepare.classes, counts, strict=True))
            if prepare.label
        },
        "numbers": {name: int(np.isfinite(raw_set.columns[name][rows]).sum()) for name in prepare.regression},
        "kept": {split: len(of) for split, of in kept.items()},
        "refused": refused,
        "largest_class": float(counts.max() / usable) if usable and prepare.label else None,
        **propose.describe(list(raw_set.bad), data, prepare),
    }


def _print(counts: Mapping[str, Any], folder: Path, label_name: str | None) -> None:
    screen = console()
    usable, shots, kept = counts["usable"], counts["shots"], counts["kept"]
    share = f"{usable / shots:.0%}" if shots else "none"
    screen.print(f"{folder}: {shots:,} shots in {counts['files']} files, {usable:,} of them usable ({share})")
    if counts["ignored"]:
        screen.print(f"  {counts['ignored']}")
    for problem in counts["problems"]:
        screen.print(f"  bad: {problem}")
    for line in counts["slow"]:
        screen.print(f"  {line}")
    if counts["unread"]:
        screen.print(f"  frames of {counts['unread']:,} files may hold what is no number: `xtcav check` reads them")
    if not shots:
        return
    screen.print("  runs: " + ", ".join(f"{run} ({count:,})" for run, count in counts["shots_by_run"].items()))
    screen.print(f"  left out: {selection.in_words(counts['left_out'])}")
    for name, count in counts["numbers"].items():
        screen.print(f"  {name}: a number in {count:,} of the usable shots")
    if counts["labels"]:
        headings = ("label", "meaning", "shots", "share", *(f"in {split}" for split in kept))
        table = titled_table(f"labels ({label_name}) of the usable shots", headings, {"meaning"})
        for value, (name, label) in enumerate(counts["labels"].items()):
            share = "-" if label["share"] is None else f"{label['share']:.1%}"
            splits = (f"{count:,}" for count in label["kept"].values())
            table.add_row(str(value), name, f"{label['shots']:,}", share, *splits)
        screen.print(table)
    sizes = ", ".join(f"{count:,} {split}" for split, count in kept.items())
    screen.print(f"  prepare would keep {sizes}" if sizes else f"  prepare would refuse them: {counts['refused']}")
    if counts["largest_class"] is not None:
        screen.print(f"  majority-class baseline: {counts['largest_class']:.1%}")


def _print_structures(counts: Mapping[str, Any]) -> None:
    screen = console()
    for structure in counts["structures"]:
        title = f"{structure['files']:,} files with the datasets of {structure['first']}"
        table = titled_table(title, ("dataset", "shape", "type", "storage", "no value?"), {"dataset", "storage"})
        for row in structure["datasets"]:
            suspects = ", ".join(f"{number:g}" for number in row["suspects"])
            place, kind, storage = map(brief, (row["path"], row["type"], row["storage"]))
            table.add_row(place, str(row["shape"] or "-"), kind, storage, suspects)
        screen.print(table)
    if counts["proposal"]:
        screen.print("they would fit with (`xtcav scan --propose` writes it to params.yaml):")
        for key, value in counts["proposal"].items():
            screen.print(f"  {key}: {json.dumps(value)}")
    for name in counts["not_found"]:
        others = (
            "set data.frame_shape: null to learn without frames"
            if name == IMAGE
            else "choose others in section prepare"
        )
        screen.print(f"  {name}: no such dataset; name it in data.layout.datasets, or {others}")
