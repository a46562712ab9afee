"""check: find mistakes in the raw files before hours of computing, as `validate` has found those in params.yaml."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from xtcav_ml.config.params_file import Params
from xtcav_ml.config.prepare import PrepareParams
from xtcav_ml.data import raw_files
from xtcav_ml.pipeline.validate import require_trainable, require_valid
from xtcav_ml.science import selection
from xtcav_ml.system import atomic
from xtcav_ml.system.progress import console


def check_raw_files(params: Params, out: Path) -> None:
    """Check the raw files too, and write a summary of them to `out`. Raises UserError at the first kind of problem."""
    require_valid(params)
    raw_set = raw_files.open_set(params.data, params.prepare)
    dark = np.empty(0, np.int64)
    if params.prepare.dark_run is not None:
        dark = raw_files.require_run(raw_set, params.prepare.dark_run)
    selected = selection.select(raw_set.columns, params.prepare)
    raw_files.require_same_content(raw_set)
    raw_files.require_pixels(raw_set, np.concatenate([dark, *selected.splits.values()]))
    require_trainable(params, len(selected.splits["train"]))
    atomic.write_json(out, _summary(raw_set, params.prepare))
    sizes = ", ".join(f"{len(rows):,} {name}" for name, rows in selected.splits.items())
    for problem in raw_files.grouped(raw_set.bad):
        console().print(f"check: skipped (data.bad_files: skip): {problem}")
    for line in raw_files.grouped(raw_set.slow):
        console().print(f"check: {line}")
    if raw_set.listing.note:
        console().print(f"check: {raw_set.listing.note}")
    console().print(f"check: {len(raw_set.files)} files, {len(raw_set.row):,} shots in {params.data.raw} -> {sizes}")
    console().print(f"check: dropped {sum(selected.dropped.values()):,} shots: {selection.in_words(selected.dropped)}")


def _summary(raw_set: raw_files.RawSet, prepare: PrepareParams) -> Mapping[str, object]:
    """Return the numbers of shots by file, run and label, for people and for DVC."""
    keyed = selection.keyed(raw_set.columns)
    blank = len(raw_set.row) - len(keyed)

    def counts(name: str) -> dict[str, int]:
        values, numbers = np.unique(raw_set.columns[name][keyed], return_counts=True)
        return {str(value): int(number) for value, number in zip(values, numbers, strict=True)}

    return ({"no_event_key": blank} if blank else {}) | {
        "files": {name: int((raw_set.file == i).sum()) for i, name in enumerate(raw_set.names)},
        "bad_files": [line for lines in raw_set.bad.values() for line in lines],
        "shots": len(raw_set.row),
        "shots_by_run": counts("run"),
        "shots_by_label": {prepare.label: counts(prepare.label)} if prepare.label else {},
        "shots_with_number": {name: int(np.isfinite(raw_set.columns[name]).sum()) for name in prepare.regression},
    }
