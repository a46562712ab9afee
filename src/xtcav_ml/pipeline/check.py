"""validate and check: everything that can be known to be wrong before hours of work.

DVC removes a stage's outputs before it runs the stage. So what a user can get wrong is found here, in stages of their own
ahead of the others: when they fail, the others' outputs are still there. `validate` looks at params.yaml alone, before
shots are simulated; `check` at the raw files too.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from xtcav_ml.config.base import overridden
from xtcav_ml.config.params_file import Params
from xtcav_ml.config.paths import SIMULATED
from xtcav_ml.config.prepare import PrepareParams
from xtcav_ml.data import raw_files
from xtcav_ml.learning import rules
from xtcav_ml.science import images, selection
from xtcav_ml.science.spec import Meaning
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console

VALID = "params.yaml is valid\n"
"""What `validate` writes: always the same, so that no stage runs again only because another section changed."""


def validate(params: Params, out: Path) -> None:
    """Check that params.yaml, valid section by section, fits together, and say so in `out`.

    Raw files other than the simulated ones, which may still have to be made, must be there.
    """
    _check_params(params)
    if Path(params.data.raw) != SIMULATED:
        raw_files.list_files(Path(params.data.raw))
    with atomic.replacing(out) as temporary:
        temporary.write_text(VALID)


def run(params: Params, out: Path) -> None:
    """Check the raw files too, and write what they hold to `out`. Raises UserError at the first kind of problem."""
    _check_params(params)
    raw_set = raw_files.open_set(params.data, params.prepare)
    if params.prepare.dark_run is not None:
        raw_files.require_run(raw_set, params.prepare.dark_run)
    chosen = selection.select(raw_set.columns, params.prepare)
    raw_files.require_same_content(raw_set)
    _check_training(params, len(chosen.splits["train"]))
    atomic.write_json(out, describe(raw_set, params.prepare))
    sizes = ", ".join(f"{len(rows):,} {name}" for name, rows in chosen.splits.items())
    for problem in raw_set.bad:
        console().print(f"check: skipped (data.bad_files: skip): {problem}")
    if raw_set.listing.note:
        console().print(f"check: {raw_set.listing.note}")
    console().print(f"check: {len(raw_set.files)} files, {len(raw_set.row):,} shots in {params.data.raw} -> {sizes}")


def _check_params(params: Params) -> None:
    """Raise UserError if nothing is left of a frame, or it cannot be trained on what is."""
    shape = images.output_shape(params.data.frame_shape, params.prepare.images)
    if min(shape) < 1:
        rows, columns = params.data.frame_shape
        raise UserError(
            f"prepare.images: a frame must keep at least one pixel, got {shape[0]} x {shape[1]} from data.frame_shape "
            f"{rows} x {columns}; lower the size of block_mean"
        )
    _check_training(params)


def _check_training(params: Params, shots: int | None = None) -> None:
    """Raise UserError if train would refuse params.yaml, or what the tuner may put into it, for `shots` training shots.

    A network that the tuner cannot build is not refused: it depends on several values at once, and is a trial that is pruned.
    """
    meaning = Meaning.of(params.prepare, params.data.frame_shape, dark=None)
    rules.require_trainable(params.train, meaning, shots)
    for name, values in params.tune.space.items():
        for value in values.ends:
            try:
                rules.require_data(overridden(params.train, "train", {name: value}), meaning, shots)
            except UserError as error:
                raise UserError(f"tune.space.{name}: {value!r} cannot be tried: {error}") from None


def describe(raw_set: raw_files.RawSet, prepare: PrepareParams) -> Mapping[str, object]:
    """Return what the raw files hold, for people and for DVC: files, shots by run and by label."""

    def counts(name: str) -> dict[str, int]:
        values, numbers = np.unique(raw_set.columns[name], return_counts=True)
        return {str(value): int(number) for value, number in zip(values, numbers, strict=True)}

    return {
        "files": {name: int((raw_set.file == i).sum()) for i, name in enumerate(raw_set.names)},
        "bad_files": list(raw_set.bad),
        "shots": len(raw_set.row),
        "shots_by_run": counts("run"),
        "shots_by_label": {prepare.label: counts(prepare.label)} if prepare.label else {},
        "shots_with_number": {name: int(np.isfinite(raw_set.columns[name]).sum()) for name in prepare.regression},
    }
