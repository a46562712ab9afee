"""validate and check: find mistakes before hours of computing.

DVC removes a stage's outputs before it runs the stage. So a user's mistakes are found here, in stages ahead of the others:
when these fail, the others' outputs are still there. `validate` reads params.yaml alone, before shots are simulated;
`check` the raw files too.
"""

from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path

import numpy as np

from xtcav_ml.config.base import overridden
from xtcav_ml.config.params_file import Params
from xtcav_ml.config.paths import SIMULATED
from xtcav_ml.config.prepare import PrepareParams
from xtcav_ml.config.tune import Choices
from xtcav_ml.data import raw_files
from xtcav_ml.data.listing import list_files
from xtcav_ml.learning import rules
from xtcav_ml.learning.layer_plan import Ends
from xtcav_ml.lineage import git
from xtcav_ml.science import images, selection
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError, warn
from xtcav_ml.system.progress import console

VALID = "params.yaml is valid\n"
"""Output of `validate`: always the same, so that no stage runs again only because another section changed."""


def validate_params(params: Params, out: Path) -> None:
    """Check that the user's environment can be used and the sections of params.yaml fit together, and write `out`.

    Raw files must exist, except simulated ones, which a later stage writes. What is wrong with git is a warning.
    """
    rules.require_environment()
    _check_params(params)
    if Path(params.data.raw) != SIMULATED:
        list_files(Path(params.data.raw))
    if problem := git.problem():
        warn(problem)
    if not out.is_file() or out.read_bytes() != VALID.encode():  # else the report is still that of these results
        with atomic.replacing(out) as temporary:
            temporary.write_text(VALID)


def check_raw_files(params: Params, out: Path) -> None:
    """Check the raw files too, and write a summary of them to `out`. Raises UserError at the first kind of problem."""
    _check_params(params)
    raw_set = raw_files.open_set(params.data, params.prepare)
    dark = np.empty(0, np.int64)
    if params.prepare.dark_run is not None:
        dark = raw_files.require_run(raw_set, params.prepare.dark_run)
    selected = selection.select(raw_set.columns, params.prepare)
    raw_files.require_same_content(raw_set)
    raw_files.require_pixels(raw_set, np.concatenate([dark, *selected.splits.values()]))
    _check_training(params, len(selected.splits["train"]))
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


def _check_params(params: Params) -> None:
    """Raise UserError if no pixel of a frame is left, or the network cannot be trained on the pixels left."""
    shape = images.output_shape(params.data.frame_shape, params.prepare.images)
    if min(shape) < 1:
        rows, columns = params.data.frame_shape
        raise UserError(
            f"prepare.images: no pixel is left of a frame (found {shape[0]} x {shape[1]} after all steps on data.frame_shape "
            f"{rows} x {columns}, expected at least 1 x 1). Fix: lower the size of block_mean"
        )
    _check_training(params)


def _check_training(params: Params, shots: int | None = None) -> None:
    """Raise UserError if train would refuse params.yaml, or tune every trial, with `shots` training shots."""
    spec = LearningSpec.of(params.prepare, params.data.frame_shape, dark=None)
    rules.require_trainable(params.train, spec, shots)
    _check_search(params, spec, shots)


def _check_search(params: Params, spec: LearningSpec, shots: int | None) -> None:
    """Raise UserError if the tuner may set a value with which params.yaml cannot be trained, or if no trial fits the memory.

    Of a range one end must give a network: others may need other values of other parameters, and their trials are pruned.
    """
    ends, smallest = Ends.of(spec), {}
    for name, values in params.tune.space.items():
        sizes, refused = [], []
        for value in values.ends:
            try:
                train = overridden(params.train, "train", {name: value})
                rules.require_data(train, spec, shots)
            except UserError as error:
                raise UserError(f"tune.space: {error}") from None
            try:
                sizes.append((rules.planned_memory(train, ends), value))
            except UserError as error:
                refused.append(f"tune.space.{name}: no network with {value!r}, all else as in section train: {error}")
        if refused and (isinstance(values, Choices) or not sizes):
            raise UserError(refused[0])
        smallest[name] = min(sizes, key=itemgetter(0))[1]
    try:
        train = overridden(params.train, "train", smallest)
        rules.planned_memory(train, ends)
    except UserError:  # these values exclude one another: their trials are pruned, others are not
        return
    rules.require_network(train, ends, 1e9 * params.tune.memory_gb, "tune.memory_gb")


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
