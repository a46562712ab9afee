"""Pictures of frames: samples, mistakes, where the network looks."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from xtcav_ml.config.paths import PLOTS
from xtcav_ml.data.predictions import ACTUAL, PREDICTED, PROBABILITY, RUN_KEY, Predictions
from xtcav_ml.report.format import percent
from xtcav_ml.report.results import Results

LISTED_MISTAKES = 10
QUALITY = 85  # of WebP, which makes a sheet of frames ten times smaller; the PNG in the results has every bit


@dataclass(frozen=True)
class Picture:
    """A picture that is inside the page."""

    source: str
    width: int
    height: int


@dataclass(frozen=True)
class Mistakes:
    """The sheet of mistakes, and the most confident ones in a table."""

    sheet: Picture
    classes: bool  # whether classes are learned
    count: int
    rows: list[list[str]]


def picture(results: Results, path: Path) -> Picture | None:
    """Return a PNG of the project; None if it is missing."""
    if not (results.root / path).is_file():
        return None
    with Image.open(results.root / path) as image:
        packed = io.BytesIO()
        image.convert("RGB").save(packed, "WEBP", quality=QUALITY, method=2)
        return Picture(f"data:image/webp;base64,{base64.b64encode(packed.getvalue()).decode()}", *image.size)


def mistakes(results: Results) -> Mistakes | None:
    """Return the sheet of mistakes, with the most confident ones by name."""
    sheet, run = picture(results, PLOTS / "mistakes.png"), results.table
    if sheet is None:
        return None
    rows = _by_confidence(run) if run and run.classes() else []
    return Mistakes(sheet, bool(results.classes), len(rows), rows[:LISTED_MISTAKES])


def _by_confidence(run: Predictions) -> list[list[str]]:
    """Return shot, label, prediction and confidence of each mistake, the most confident first."""
    confidence = np.stack([run.floats(PROBABILITY + name) for name in run.classes()], axis=1).max(axis=1)
    shots = zip(*(run.columns[name] for name in RUN_KEY), strict=True)
    rows = [
        [", ".join(shot), actual, predicted, percent(share)]
        for shot, actual, predicted, share in zip(
            shots, run.columns[ACTUAL], run.columns[PREDICTED], confidence, strict=True
        )
    ]
    return [rows[i] for i in np.argsort(-confidence, kind="stable") if rows[i][1] != rows[i][2]]
