"""scan: what is in a folder of shot files, from metadata alone: no image is read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from xtcav_ml.config.data import DataParams
from xtcav_ml.config.prepare import PrepareParams
from xtcav_ml.data import raw_files
from xtcav_ml.science import selection
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console


def run(folder: Path, data: DataParams, prepare: PrepareParams, as_json: bool) -> bool:
    """Print what `folder` holds, as a table or as JSON. Returns whether all files are good.

    Raises UserError if the folder cannot be read or a shot stands twice with different labels.
    """
    found = describe(raw_files.list_files(folder), data, prepare)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _show(found, folder, prepare)
    return not found["bad_files"]


def describe(listing: raw_files.Listing, data: DataParams, prepare: PrepareParams) -> dict[str, Any]:
    """Return counts of files, shots, labels and what is left out, what prepare would keep in each set, and problems."""
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
    runs, shots = np.unique(raw_set.columns["run"], return_counts=True)
    total, usable = len(raw_set.row), len(rows)
    return {
        "files": len(listing.files),
        "bad_files": len(listing.files) - len(raw_set.files),
        "ignored": listing.note,
        "problems": list(raw_set.bad),
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
    }


def _show(found: Mapping[str, Any], folder: Path, prepare: PrepareParams) -> None:
    screen = console()
    share = f"{found['usable'] / found['shots']:.0%}" if found["shots"] else "none"
    screen.print(
        f"{folder}: {found['shots']:,} shots in {found['files']} files, {found['usable']:,} of them usable ({share})"
    )
    if found["ignored"]:
        screen.print(f"  {found['ignored']}")
    screen.print("  runs: " + ", ".join(f"{run} ({count:,})" for run, count in found["shots_by_run"].items()))
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in found["left_out"].items() if count)
    screen.print(f"  left out: {left_out or 'none'}")
    for name, count in found["numbers"].items():
        screen.print(f"  {name}: a number in {count:,} of the usable shots")
    if found["labels"]:
        table = Table(title=f"labels ({prepare.label}) of the usable shots", title_justify="left", title_style="")
        for heading in ("label", "meaning", "shots", "share", *(f"in {split}" for split in found["kept"])):
            table.add_column(heading, justify="left" if heading == "meaning" else "right")
        for value, (name, label) in enumerate(found["labels"].items()):
            part = "-" if label["share"] is None else f"{label['share']:.1%}"
            table.add_row(
                str(value), name, f"{label['shots']:,}", part, *(f"{count:,}" for count in label["kept"].values())
            )
        screen.print(table)
    sizes = ", ".join(f"{count:,} {split}" for split, count in found["kept"].items())
    screen.print(f"  prepare would keep {sizes}" if sizes else f"  prepare would refuse them: {found['refused']}")
    if found["largest_class"] is not None:
        screen.print(f"  always choosing the largest class would score {found['largest_class']:.1%}")
    for problem in found["problems"]:
        console().print(f"  bad: {problem}")
