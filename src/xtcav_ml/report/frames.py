"""Pictures of frames: samples, mistakes, where the network looks."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xtcav_ml.config.paths import PLOTS
from xtcav_ml.data.predictions import ACTUAL, PREDICTED, PROBABILITY, RUN_KEY, Predictions
from xtcav_ml.report.format import percent
from xtcav_ml.report.results import Results

LISTED_MISTAKES = 10
QUALITY = 85  # of WebP, which makes a sheet of frames ten times smaller; the PNG in the results has every bit


def picture(results: Results, path: Path) -> dict[str, Any] | None:
    """Return a PNG of the project, to be inside the page, with its width and height; None if it is missing."""
    if not (results.root / path).is_file():
        return None
    with Image.open(results.root / path) as image:
        packed = io.BytesIO()
        image.convert("RGB").save(packed, "WEBP", quality=QUALITY, method=2)
        source = f"data:image/webp;base64,{base64.b64encode(packed.getvalue()).decode()}"
        return {"source": source, "width": image.width, "height": image.height}


def mistakes(results: Results) -> dict[str, Any] | None:
    """Return the sheet of mistakes, whether classes are learned, and if so the most confident mistakes in a table."""
    sheet, run = picture(results, PLOTS / "mistakes.png"), results.table
    if sheet is None:
        return None
    rows = _by_confidence(run) if run and run.classes() else []
    return {"sheet": sheet, "classes": results.classes, "count": len(rows), "rows": rows[:LISTED_MISTAKES]}


def _by_confidence(run: Predictions) -> list[list[str]]:
    """Return shot, label, prediction and confidence of each mistake, the most confident first."""
    confidence = np.stack([run.floats(PROBABILITY + name) for name in run.classes()], axis=1).max(axis=1)
    columns = zip(*(run.columns[name] for name in (*RUN_KEY, ACTUAL, PREDICTED)), confidence, strict=True)
    rows = [[f"{one}, {index}", *answers, percent(share)] for one, index, *answers, share in columns]
    return [rows[i] for i in np.argsort(-confidence, kind="stable") if rows[i][1] != rows[i][2]]
