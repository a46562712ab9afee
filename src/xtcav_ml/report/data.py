"""The data: what there is, what was kept of it, and the mix of labels in each set."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xtcav_ml import figures
from xtcav_ml.config.base import PARAMS_FILE, load_section
from xtcav_ml.config.data import DataParams
from xtcav_ml.config.prepare import PrepareParams
from xtcav_ml.data import raw_files
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.report.format import percent
from xtcav_ml.report.results import Results
from xtcav_ml.science import selection
from xtcav_ml.system.errors import UserError

Sets = dict[str, dict[str, int]]
"""Shots of each class, or with each number, by set."""


@dataclass(frozen=True)
class Data:
    """What is known of the data: each part empty, or None, where what it is read from is not there."""

    checked: dict[str, Any]  # results/data.json
    folder: str | None  # of the raw files
    label: str | None  # None where no classes are learned
    sets: Sets
    chart: str | None  # SVG
    left_out: list[list[str]]  # reason, shots; where params.yaml and raw files are still those that were prepared

    def rows(self) -> list[list[str]]:
        """Return of each class, or number: its shots in each set, and their share."""
        totals = {name: max(sum(counts.values()), 1) for name, counts in self.sets.items()}

        def cell(split: str, count: int) -> str:
            return f"{count:,}" + (f" ({percent(count / totals[split])})" if self.label else "")

        names = next(iter(self.sets.values()))
        rows = [[name, *(cell(split, counts[name]) for split, counts in self.sets.items())] for name in names]
        return rows + ([["all", *(f"{sum(counts.values()):,}" for counts in self.sets.values())]] if self.label else [])


def data(results: Results) -> Data:
    """Return what is known of the data."""
    sets, label = _sets(results.root / "data" / "prepared")
    left_out = _left_out(results.root, {name: sum(counts.values()) for name, counts in sets.items()} if label else {})
    return Data(
        checked=results.json("data.json"),
        folder=results.recorded.params.get("data.raw") if results.recorded else None,
        label=label,
        sets=sets,
        chart=figures.svg(figures.label_shares(sets), f"Labels ({label}) of each set, as in the table")
        if label
        else None,
        left_out=left_out,
    )


def _sets(folder: Path) -> tuple[Sets, str | None]:
    """Return shots by class in each prepared file, and the name of their label; or with each number, and None."""
    sets: Sets = {}
    label = None
    for name in selection.SPLITS:
        try:
            with PreparedFile(folder / f"{name}.h5") as file:
                label = file.meaning.label
                if file.classes:
                    counts = np.bincount(file.labels, minlength=len(file.classes)).tolist()
                    sets[name] = dict(zip(file.classes, counts, strict=True))
                else:
                    known = np.isfinite(file.targets).sum(axis=0).tolist()
                    sets[name] = dict(zip(file.meaning.regression, known, strict=True))
        except UserError:
            return {}, None
    return sets, label


def _left_out(root: Path, kept: dict[str, int]) -> list[list[str]]:
    """Return how many shots were not kept, by reason, and how many were; nothing if others than `kept` would be now."""
    try:
        given = load_section("data", DataParams, root / PARAMS_FILE)
        prepare = load_section("prepare", PrepareParams, root / PARAMS_FILE)
        files = raw_files.list_files(root / given.raw)
        chosen = selection.select(raw_files.survey(files, given, prepare).columns, prepare)
    except UserError:
        return []
    if kept and {name: len(rows) for name, rows in chosen.splits.items()} != kept:
        return []
    counts = chosen.dropped | {"kept": sum(map(len, chosen.splits.values()))}
    return [[reason, f"{count:,}"] for reason, count in counts.items()]
