"""show: a sheet of a prepared file: for each class, raw and prepared frames, and the mean of the class."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xtcav_ml import figures
from xtcav_ml.config.layout import NOTES, Layout
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.data.raw_dataset import Folder
from xtcav_ml.data.raw_frames import read_frames
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console

Picture = tuple[NDArray[np.generic], str]


def draw_sheet(file: Path, raw_folder: Path, out: Path, per_class: int, layout: Layout = NOTES) -> None:
    """Draw the first `per_class` shots of each class in prepared `file` to the PNG `out`.

    Raises UserError if the file cannot be read, or a raw file that it names is not in `raw_folder`.
    """
    with PreparedFile(file) as prepared:
        rows = []
        classes = {name: np.flatnonzero(prepared.labels == value) for value, name in enumerate(prepared.classes)}
        for name, members in (classes or {"all": np.arange(prepared.shots)}).items():
            pictures = [picture for row in members[:per_class] for picture in _pair(prepared, row, raw_folder, layout)]
            rows.append((f"{name} ({len(members):,})", [*pictures, (_mean(prepared, members), "mean of the class")]))
        steps = ", ".join(step.step for step in prepared.spec.preprocessing.steps)
        learned = prepared.spec.label or ", ".join(prepared.spec.regression)
        title = f"{file}: {prepared.shots:,} shots by {learned}; raw, and after {steps}"
        figures.write_png(out, figures.frame_sheet(rows, title, one_scale=False))
    console().print(f"{title} -> {out}")


def _pair(prepared: PreparedFile, row: int, raw_folder: Path, layout: Layout) -> list[Picture]:
    """Return the raw frame of a shot and its prepared one."""
    source = raw_folder / prepared.source_files[int(prepared.column("source.file")[row])]
    if not source.is_file():
        raise UserError(
            f"{source}: missing (expected the raw file of {prepared.path}). Fix: name its folder with --raw"
        )
    rows = prepared.column("source.row")[[row]].astype(np.int64)
    raw = read_frames(source, rows, Folder(raw_folder, layout))[0]
    run, index = prepared.column("run")[row], prepared.column("run.index")[row]
    return [(raw, f"run {run}, shot {index}, raw"), (prepared.images(np.array([row]))[0], "prepared")]


def _mean(prepared: PreparedFile, members: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean prepared image of a class, a few shots in memory at a time; zeros if it has none."""
    total = np.zeros(prepared.frame_shape)
    for first in range(0, len(members), 64):
        total += prepared.images(members[first : first + 64]).sum(axis=0, dtype=np.float64)
    return total / max(len(members), 1)
