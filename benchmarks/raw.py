"""Raw files of a beam on noise, of any size and layout, and what `prepare` makes of them."""

import contextlib
import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xtcav_ml.config import params_file
from xtcav_ml.config.data import DataParams
from xtcav_ml.config.prepare import Pixels, PrepareParams, RegionOfInterest
from xtcav_ml.pipeline import prepare as stage

ROOT = Path(__file__).parents[1]
PER_FILE, DARK = 500, 50  # shots of a file, and of the dark run
LAYOUTS: dict[str, dict[str, Any]] = {
    "in one piece": {},  # as the experiment's files
    "chunks with a checksum": {"fletcher32": True},  # as the simulated ones
}


def write(folder: Path, shots: int, shape: tuple[int, int], layout: str = "in one piece") -> Path:
    """Write `shots` shots, and a dark run, in files of PER_FILE; return the folder."""
    folder.mkdir()
    rng, options = np.random.default_rng(0), dict(LAYOUTS[layout])
    if options:
        options["chunks"] = (1, *shape)
    base = rng.normal(100, 3, (DARK, *shape))
    rows, columns = (np.arange(side) / side - 0.5 for side in shape)
    beam = 1500 * np.exp(-((rows[:, None] / 0.08) ** 2) - (columns / 0.12) ** 2)
    for first in range(-PER_FILE, shots, PER_FILE):
        dark = first < 0
        count = DARK if dark else min(PER_FILE, shots - first)
        with h5py.File(folder / f"r{68 if dark else 70}-{max(first, 0):06d}.h5", "w") as file:
            frames = file.create_dataset("xtcavimg", (count, *shape), "i2", **options)
            for row in range(count):
                frames[row] = base[row % DARK] + (0 if dark else beam * rng.uniform(0.2, 2))
            write_columns(file, np.arange(count) + max(first, 0), run=68 if dark else 70)
    return folder


def write_columns(file: h5py.File, index: np.ndarray, run: int) -> None:
    """Write everything but the frames, for the shots `index` of a run; 68 is the dark one."""
    columns = {"run": np.full(len(index), run), "run.index": index, "lasing": np.full(len(index), int(run != 68))}
    seconds = index // 120 + 10**6 * (run == 68)
    columns |= {"evt.seconds": seconds, "evt.nanoseconds": index % 120, "evt.fiducials": index}
    for name, values in {**columns, "acq.peaksLabel": index % 4}.items():
        file[name] = values


def params(folder: Path, shape: tuple[int, int], **changes: Any) -> tuple[DataParams, PrepareParams]:
    """Return sections for the files of `folder`: those of params.yaml, most shots to train, with `changes` of `prepare`."""
    section = params_file.load_params(ROOT / "params.yaml").prepare
    balance = section.balance.model_copy(update={"ratio": None})
    split = section.split.model_copy(update={"train": 0.7, "validation": 0.15, "test": 0.15})
    section = section.model_copy(update={"balance": balance, "split": split, **changes})
    return DataParams(raw=str(folder), frame_shape=shape, bad_files="fail"), section


def prepare(folder: Path, out: Path, shape: tuple[int, int], kept: tuple[int, int]) -> Path:
    """Prepare the files of `folder`, of each frame the middle of shape `kept`; return the training file."""
    pixels = Pixels(dtype="int16", quantum=1.0)
    data, section = params(folder, shape, images=(middle(shape, kept),), pixels=pixels, dark_run=None)
    prepare_quietly(data, section, out)
    return out / "train.h5"


def middle(shape: tuple[int, int], kept: tuple[int, int]) -> RegionOfInterest:
    """Return the step that keeps the middle of shape `kept` of frames of `shape`."""
    ends = {name: ((a - b) // 2, (a + b) // 2) for name, a, b in zip(("rows", "columns"), shape, kept, strict=True)}
    return RegionOfInterest(step="roi", **ends)


def prepare_quietly(data: DataParams, section: PrepareParams, out: Path) -> None:
    """Run the stage prepare without its lines."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        stage.prepare_files(data, section, out)
