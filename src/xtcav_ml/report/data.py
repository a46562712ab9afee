"""The data: the raw shots, those that were left out, and the mix of labels in each set."""

from pathlib import Path
from typing import Any

import numpy as np

from xtcav_ml.config.paths import CHECKED, PREPARED
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.data.result_files import Checked
from xtcav_ml.figures import quality
from xtcav_ml.figures.drawing import svg
from xtcav_ml.report.format import percent
from xtcav_ml.report.results import Results
from xtcav_ml.science import selection
from xtcav_ml.system.errors import UserError

Sets = dict[str, dict[str, int]]  # shots of each class, or with each number, by set


def data_section(results: Results) -> dict[str, Any]:
    """Return the data of the results; an entry is empty, or None, where its source is missing."""
    sets, label = _sets(results.root / PREPARED)
    title = f"Labels ({label}) of each set, as in the table"
    totals = {name: sum(counts.values()) for name, counts in sets.items()} if label else {}
    return {
        "checked": results.json(CHECKED, Checked),
        "folder": results.recorded.params.get("data.raw") if results.recorded else None,
        "label": label,
        "sets": list(sets),
        "rows": _rows(sets, totals),
        "chart": svg(quality.label_shares(sets), title) if label else None,
        "left_out": _left_out(results, totals),
    }


def _rows(sets: Sets, totals: dict[str, int]) -> list[list[str]]:
    """Return of each class, or number: its shots in each set; of classes also their share in the `totals` of the sets."""

    def cell(split: str, count: int) -> str:
        return f"{count:,}" + (f" ({percent(count / max(totals[split], 1))})" if totals else "")

    names = next(iter(sets.values()), {})
    rows = [[name, *(cell(split, counts[name]) for split, counts in sets.items())] for name in names]
    return rows + ([["all", *(f"{total:,}" for total in totals.values())]] if totals else [])


def _sets(folder: Path) -> tuple[Sets, str | None]:
    """Return shots by class in each prepared file, and the name of their label; or with each number, and None."""
    sets: Sets = {}
    label = None
    try:
        for name in selection.SPLITS:
            with PreparedFile(folder / f"{name}.h5") as file:
                label = file.spec.label
                counts = np.isfinite(file.targets).sum(axis=0)
                if file.classes:
                    counts = np.bincount(file.labels, minlength=len(file.classes))
                sets[name] = dict(zip(file.classes or file.spec.regression, counts.tolist(), strict=True))
    except UserError:
        return {}, None
    return sets, label


def _left_out(results: Results, kept: dict[str, int]) -> list[list[str]]:
    """Return the number of shots left out, by reason, and of those kept; nothing if prepare would keep others than `kept`."""
    if results.raw is None:
        return []
    raw, prepare = results.raw
    try:
        selected = selection.select(raw.columns, prepare)
    except UserError:
        return []
    sizes = {name: len(rows) for name, rows in selected.splits.items()}
    if kept and sizes != kept:
        return []
    return [[reason, f"{count:,}"] for reason, count in (selected.dropped | {"kept": sum(sizes.values())}).items()]
