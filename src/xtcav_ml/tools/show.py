"""show: a sheet of a prepared file: for each class, raw and prepared frames, and the mean of the class."""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.data import Axes
from xtcav_ml.config.layout import NOTES, Layout
from xtcav_ml.config.schema import STREAK, Dataset
from xtcav_ml.config.simulate import LARGEST_PHASE, CalibrationParams
from xtcav_ml.data.hdf5 import reading
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.data.raw_dataset import Folder
from xtcav_ml.data.raw_file import RawFile
from xtcav_ml.data.raw_frames import read_frames
from xtcav_ml.figures.drawing import write_png
from xtcav_ml.figures.frames import Grid, Picture, block, sheet
from xtcav_ml.science import bunch, streak_axes
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console

RF = Dataset("f", (), "of the XTCAV: amplitude, MV, or phase, degrees")


@dataclass(frozen=True)
class Calibrated:
    """What is known of the axes of raw frames: the calibration, and the `usual` axes where the RF of a shot is not known."""

    calibration: Axes | CalibrationParams | None = None
    usual: Axes | None = None

    def axes_of(self, source: Path, row: int, folder: Folder) -> Axes | None:
        """Return the axes of the frame at a row of a raw file; None if they are not known, or it has no time axis."""
        if not isinstance(self.calibration, CalibrationParams):
            return self.usual
        rf = _rf_of(source, folder)
        return streak_axes.axes_at(self.calibration, *(float(each[row]) for each in rf)) if rf else self.usual


@functools.lru_cache(maxsize=64)
def _rf_of(source: Path, folder: Folder) -> tuple[NDArray[np.floating], ...]:
    """Return amplitudes and phases (N,) of the shots of a raw file; nothing if it lacks one of them."""
    with reading(source) as file:
        raw = RawFile(file, source, folder)
        if not all(raw.has(name) for name in STREAK):
            return ()
        return tuple(raw.columns(dict.fromkeys(STREAK, RF), {}).values())


def draw_sheet(
    file: Path,
    raw_folder: Path,
    out: Path,
    per_class: int,
    layout: Layout = NOTES,
    calibrated: Calibrated = Calibrated(),
) -> None:
    """Draw the first `per_class` shots of each class in prepared `file` to the PNG `out`; `calibrated` has the axes.

    A shot whose frame has no time axis, by the RF of the shot, is left out. Raises UserError if the file cannot be read or has
    no frames, or a raw file that it names is not in `raw_folder`.
    """
    with PreparedFile(file) as prepared:
        _require_frames(prepared)
        rows = []
        shots = _Shots(prepared, raw_folder, Folder(raw_folder, layout), calibrated)
        grid = Grid.of(prepared.spec.preprocessing, calibrated.usual)
        classes = {name: np.flatnonzero(prepared.labels == value) for value, name in enumerate(prepared.classes)}
        for name, members in (classes or {"all": np.arange(prepared.shots)}).items():
            pairs = islice(shots.pairs(members), per_class)
            mean = Picture(_mean(prepared, members), "mean of the class", grid)
            rows.append((f"{name} ({len(members):,})", [*(picture for pair in pairs for picture in pair), mean]))
        steps = ", ".join(step.step for step in prepared.spec.preprocessing.steps)
        learned = prepared.spec.label or ", ".join(prepared.spec.regression)
        title = f"{file}: {prepared.shots:,} shots by {learned}; raw, and after {steps}"
        write_png(out, sheet(rows, title, one_scale=False))
    if shots.left_out:
        console().print(
            f"{shots.left_out:,} shots have no time axis (their RF was not read, or its phase is more than {LARGEST_PHASE:g} "
            "degrees from where the calibration holds): left out"
        )
    console().print(f"{title} -> {out}")


def _require_frames(prepared: PreparedFile) -> None:
    if not prepared.spec.has_frames:
        raise UserError(
            f"{prepared.path}: no frames to show (found {prepared.spec.size} a shot, expected frames). Fix: set "
            "data.frame_shape, prepare.images and train.model in params.yaml, then run `make repro`"
        )


@dataclass
class _Shots:
    """The shots of a prepared file with their raw frames."""

    prepared: PreparedFile
    raw_folder: Path
    folder: Folder
    calibrated: Calibrated
    left_out: int = 0  # so far, without a time axis

    def pairs(self, rows: Iterable[int]) -> Iterator[list[Picture]]:
        """Yield the raw frame of each shot and its prepared one; none of those that have no time axis."""
        for row in rows:
            source, place = self._source(row), int(self.prepared.column("source.row")[row])
            axes = self.calibrated.axes_of(source, place, self.folder)
            if axes is None and self.calibrated.calibration is not None:
                self.left_out += 1
                continue
            grid = Grid.of(self.prepared.spec.preprocessing, axes)
            size = block(self.prepared.spec.preprocessing)
            of_camera = replace(grid, column=grid.column / size, row=grid.row / size)
            raw = read_frames(source, np.array([place]), self.folder)[0]
            run, index = self.prepared.column("run")[row], self.prepared.column("run.index")[row]
            image = self.prepared.images(np.array([row]))[0]
            yield [Picture(raw, f"run {run}, shot {index}, raw", of_camera), Picture(image, "prepared", grid)]

    def _source(self, row: int) -> Path:
        """Return the raw file of a shot."""
        source = self.raw_folder / self.prepared.source_files[int(self.prepared.column("source.file")[row])]
        if not source.is_file():
            raise UserError(
                f"{source}: missing (expected the raw file of {self.prepared.path}). Fix: name its folder with --raw"
            )
        return source


def _mean(prepared: PreparedFile, members: NDArray[np.int64]) -> NDArray[np.floating]:
    """Return the mean prepared image of a class, beams on one another; zeros if it has none."""
    if not len(members):
        return np.zeros(prepared.frame_shape)
    return bunch.mean_frame((prepared.images(members[i : i + 1])[0] for i in range(len(members))), prepared.frame_shape)
