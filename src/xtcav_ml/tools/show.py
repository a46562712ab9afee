"""show: a sheet of a prepared file: for each class, raw and prepared frames, and the mean of the class."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.data import Axes
from xtcav_ml.config.layout import NOTES, Layout
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.data.raw_dataset import Folder
from xtcav_ml.data.raw_frames import read_frames
from xtcav_ml.figures.drawing import write_png
from xtcav_ml.figures.frames import Grid, Picture, block, sheet
from xtcav_ml.science import bunch
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console


def draw_sheet(
    file: Path, raw_folder: Path, out: Path, per_class: int, layout: Layout = NOTES, axes: Axes | None = None
) -> None:
    """Draw the first `per_class` shots of each class in prepared `file` to the PNG `out`; `axes` calibrates raw frames.

    Raises UserError if the file cannot be read or has no frames, or a raw file that it names is not in `raw_folder`.
    """
    with PreparedFile(file) as prepared:
        _require_frames(prepared)
        rows = []
        grid = Grid.of(prepared.spec.preprocessing, axes)
        classes = {name: np.flatnonzero(prepared.labels == value) for value, name in enumerate(prepared.classes)}
        for name, members in (classes or {"all": np.arange(prepared.shots)}).items():
            pairs = [_pair(prepared, row, raw_folder, layout, grid) for row in members[:per_class]]
            mean = Picture(_mean(prepared, members), "mean of the class", grid)
            rows.append((f"{name} ({len(members):,})", [*(picture for pair in pairs for picture in pair), mean]))
        steps = ", ".join(step.step for step in prepared.spec.preprocessing.steps)
        learned = prepared.spec.label or ", ".join(prepared.spec.regression)
        title = f"{file}: {prepared.shots:,} shots by {learned}; raw, and after {steps}"
        write_png(out, sheet(rows, title, one_scale=False))
    console().print(f"{title} -> {out}")


def _require_frames(prepared: PreparedFile) -> None:
    if not prepared.spec.has_frames:
        raise UserError(
            f"{prepared.path}: no frames to show (found {prepared.spec.size} a shot, expected frames). Fix: set "
            "data.frame_shape, prepare.images and train.model in params.yaml, then run `make repro`"
        )


def _pair(prepared: PreparedFile, row: int, raw_folder: Path, layout: Layout, grid: Grid) -> list[Picture]:
    """Return the raw frame of a shot and its prepared one."""
    source = raw_folder / prepared.source_files[int(prepared.column("source.file")[row])]
    if not source.is_file():
        raise UserError(
            f"{source}: missing (expected the raw file of {prepared.path}). Fix: name its folder with --raw"
        )
    raw = read_frames(source, prepared.column("source.row")[[row]].astype(np.int64), Folder(raw_folder, layout))[0]
    run, index = prepared.column("run")[row], prepared.column("run.index")[row]
    size = block(prepared.spec.preprocessing)
    of_camera = replace(grid, column=grid.column / size, row=grid.row / size)
    image = prepared.images(np.array([row]))[0]
    return [Picture(raw, f"run {run}, shot {index}, raw", of_camera), Picture(image, "prepared", grid)]


def _mean(prepared: PreparedFile, members: NDArray[np.int64]) -> NDArray[np.floating]:
    """Return the mean prepared image of a class, beams on one another; zeros if it has none."""
    if not len(members):
        return np.zeros(prepared.frame_shape)
    return bunch.mean_frame((prepared.images(members[i : i + 1])[0] for i in range(len(members))), prepared.frame_shape)
