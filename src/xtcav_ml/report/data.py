"""The section on the data: what there is, what was kept of it, and the mix of labels in each set."""

from pathlib import Path
from typing import Any

import numpy as np

from xtcav_ml.config.base import PARAMS_FILE, load_section
from xtcav_ml.config.data import DataParams
from xtcav_ml.config.prepare import PrepareParams
from xtcav_ml.data import raw_files
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.report.charts import stacked_bars
from xtcav_ml.report.markup import Markup, Section, listing, missing, section, table
from xtcav_ml.report.results import Results
from xtcav_ml.report.wording import percent
from xtcav_ml.science import selection
from xtcav_ml.system.errors import UserError

Sets = dict[str, dict[str, int]]
"""Shots of each class, or with each number, by set."""


def data(results: Results) -> Section:
    """Return the section."""
    found = results.json("data.json")
    prepared, meant = _sets(results.root / "data" / "prepared")
    parts: list[Markup] = []
    if found:
        recorded = results.recorded.params.get("data.raw") if results.recorded else None
        runs = ", ".join(f"{run} ({shots:,})" for run, shots in found["shots_by_run"].items())
        summary = [
            f"{found['shots']:,} shots in {len(found['files'])} files" + (f" of {recorded}" if recorded else ""),
            f"runs (shots): {runs}",
            *(f"bad file, left out: {line}" for line in found["bad_files"]),
            *(f"{name}: a number in {shots:,} shots" for name, shots in found["shots_with_number"].items()),
        ]
        parts.append(listing(summary))
    else:
        parts.append(missing("results/data.json is not here: `make repro` brings it."))
    parts += _mix(prepared, meant)
    parts += _left_out(results.root, {name: sum(counts.values()) for name, counts in prepared.items()} if meant else {})
    return section("data", "Data", *parts)


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


def _mix(sets: Sets, label: str | None) -> list[Markup]:
    if not sets:
        what = "The mix of labels needs data/prepared: `dvc pull --with-deps evaluate` or `make repro` brings it."
        return [missing(what)]
    names = list(sets["train"])
    totals = {name: sum(counts.values()) for name, counts in sets.items()}

    def cell(split: str, name: str) -> str:
        return f"{sets[split][name]:,}" + (f" ({percent(sets[split][name] / max(totals[split], 1))})" if label else "")

    rows: list[list[str]] = [[name, *(cell(split, name) for split in sets)] for name in names]
    if label is None:
        return [table("Shots with each number", ("number", *sets), rows)]
    rows.append(["all", *(f"{total:,}" for total in totals.values())])
    bars = stacked_bars(
        f"Labels ({label}) of each set", {name: list(counts.values()) for name, counts in sets.items()}, names
    )
    return [bars, table("Shots of each label", ("label", *sets), rows)]


def _left_out(root: Path, kept: dict[str, int]) -> list[Markup]:
    """Return how many shots were not kept and why, as long as params.yaml and raw files still say what was prepared."""
    found = _selected(root)
    if found is None or (kept and {name: len(rows) for name, rows in found.splits.items()} != kept):
        what = "What was left out can be told where the raw files are, and params.yaml is as it was when they were prepared."
        return [missing(what)]
    rows: list[list[Any]] = [[reason, f"{count:,}"] for reason, count in found.dropped.items()]
    rows.append(["kept", f"{sum(map(len, found.splits.values())):,}"])
    return [table("Shots left out, by reason", ("reason", "shots"), rows)]


def _selected(root: Path) -> selection.Selection | None:
    try:
        given = load_section("data", DataParams, root / PARAMS_FILE)
        prepare = load_section("prepare", PrepareParams, root / PARAMS_FILE)
        files = raw_files.list_files(root / given.raw)
        return selection.select(raw_files.survey(files, given, prepare).columns, prepare)
    except UserError:
        return None
