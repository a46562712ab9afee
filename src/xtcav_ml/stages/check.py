"""check: everything that can be known to be wrong before hours of work: params.yaml and the raw files' metadata.

DVC removes a stage's outputs before it runs the stage. So what a user can get wrong is found here, in a stage of its own
ahead of the others: when it fails, their outputs are still there.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from xtcav_ml import atomic, geometry, images, raw, selection
from xtcav_ml.errors import UserError
from xtcav_ml.params.data import DataParams
from xtcav_ml.params.prepare import PrepareParams
from xtcav_ml.params.train import TrainParams
from xtcav_ml.params.whole import Params
from xtcav_ml.progress import console


def run(params: Params, out: Path) -> None:
    """Check it all, and write what the raw files hold to `out`. Raises UserError at the first kind of problem."""
    shape = network_input(params.data, params.prepare)
    check_network(params.train, shape, len(params.prepare.classes))
    raw_set = raw.open_set(params.data, params.prepare)
    if params.prepare.dark_run is not None:
        raw.require_run(raw_set, params.prepare.dark_run)
    chosen = selection.select(raw_set.columns, params.prepare)
    if len(chosen.splits["train"]) < params.train.batch_size:
        raise UserError(
            f"train.batch_size: must not be more than the {len(chosen.splits['train'])} training shots that prepare keeps, "
            f"got {params.train.batch_size}; lower it, add shots, or raise prepare.balance.ratio"
        )
    atomic.write_json(out, describe(raw_set, params.prepare))
    sizes = ", ".join(f"{len(rows):,} {name}" for name, rows in chosen.splits.items())
    console().print(f"check: {len(raw_set.files)} files, {len(raw_set.row):,} shots in {params.data.raw} -> {sizes}")


def network_input(data: DataParams, prepare: PrepareParams) -> tuple[int, int]:
    """Return rows and columns of a prepared frame. Raises UserError if nothing is left of a frame."""
    shape = images.output_shape(data.frame_shape, prepare.images)
    if min(shape) < 1:
        raise UserError(
            f"prepare.images: a frame must keep at least one pixel, got {shape[0]} x {shape[1]} from "
            f"data.frame_shape {data.frame_shape[0]} x {data.frame_shape[1]}; lower the size of block_mean"
        )
    return shape


def check_network(train: TrainParams, shape: tuple[int, int], classes: int) -> None:
    """Raise UserError if the network cannot be built on frames of `shape`."""
    geometry.layers(train.model, shape, classes)


def describe(raw_set: raw.RawSet, prepare: PrepareParams) -> Mapping[str, object]:
    """Return what the raw files hold, for people and for DVC: files, shots by run and by label."""

    def counts(name: str) -> dict[str, int]:
        values, numbers = np.unique(raw_set.columns[name], return_counts=True)
        return {str(value): int(number) for value, number in zip(values, numbers, strict=True)}

    return {
        "files": {path.name: int((raw_set.file == i).sum()) for i, path in enumerate(raw_set.files)},
        "shots": len(raw_set.row),
        "shots_by_run": counts("run"),
        "shots_by_label": {prepare.label: counts(prepare.label)},
    }
