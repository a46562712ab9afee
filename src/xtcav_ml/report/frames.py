"""Pictures of frames: samples, mistakes, where the network looks."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from xtcav_ml.data.predictions import ACTUAL, PREDICTED, PROBABILITY, RUN_KEY, Predictions
from xtcav_ml.report.format import percent
from xtcav_ml.report.results import Results

WORST = 10
"""Mistakes that are listed."""

QUALITY = 85
"""Of WebP, which makes a sheet of frames ten times smaller; the file beside the page has every bit."""


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


def picture(results: Results, name: str) -> Picture | None:
    """Return the PNG `name` in `results`; None if it is not there."""
    path = results.root / "results" / name
    if not path.is_file():
        return None
    with Image.open(path) as image:
        packed = io.BytesIO()
        image.convert("RGB").save(packed, "WEBP", quality=QUALITY, method=2)
        return Picture(f"data:image/webp;base64,{base64.b64encode(packed.getvalue()).decode()}", *image.size)


def samples(results: Results) -> Picture | None:
    """Return the sheet of test frames."""
    return picture(results, "plots/frames.png")


def saliency(results: Results) -> Picture | None:
    """Return the sheet of where the network looks."""
    return picture(results, "plots/saliency.png")


def mistakes(results: Results) -> Mistakes | None:
    """Return the sheet of mistakes, with the most confident ones by name."""
    sheet, run = picture(results, "plots/mistakes.png"), results.table
    if sheet is None:
        return None
    rows = _by_confidence(run) if run and run.classes() else []
    return Mistakes(sheet, bool(results.classes), len(rows), rows[:WORST])


def _by_confidence(run: Predictions) -> list[list[str]]:
    """Return shot, label, prediction and confidence of each mistake, the most confident first."""
    confidence = np.stack([run.floats(PROBABILITY + name) for name in run.classes()], axis=1).max(axis=1)
    order = [i for i in np.argsort(-confidence, kind="stable") if run.columns[ACTUAL][i] != run.columns[PREDICTED][i]]
    return [
        [
            ", ".join(run.columns[name][i] for name in RUN_KEY),
            run.columns[ACTUAL][i],
            run.columns[PREDICTED][i],
            percent(confidence[i]),
        ]
        for i in order
    ]
