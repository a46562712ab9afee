"""Sections that show frames: samples, mistakes, where the network looks."""

import numpy as np

from xtcav_ml.data.predictions import ACTUAL, PREDICTED, PROBABILITY, Predictions
from xtcav_ml.report.markup import Markup, Section, element, figure, paragraph, section, table
from xtcav_ml.report.pictures import picture
from xtcav_ml.report.results import Results
from xtcav_ml.report.wording import percent

WORST = 10
"""Mistakes that are listed."""


def sheets(results: Results) -> list[Section]:
    """Return the sections of frames: samples, mistakes, where the network looks."""
    seen = (
        (
            "frames",
            "Sample frames",
            "frames.png",
            "Test frames, a row for each label, as the network sees them; above each, what it says and how sure it is.",
        ),
        (
            "mistakes",
            "Worst mistakes",
            "mistakes.png",
            "A row for each label: the shots that the network was wrong on and surest; of numbers, the largest errors.",
        ),
        (
            "saliency",
            "Where the network looks",
            "saliency.png",
            "Frames that it is right on; red is what speaks for the label, or for a higher number (Grad-CAM).",
        ),
    )
    found = []
    for name, title, file, caption in seen:
        path = results.path(f"plots/{file}")
        if path is not None:
            listed = _mistakes(results.table) if name == "mistakes" and results.table else None
            found.append(
                section(
                    name, title, figure(element("div", picture(path, caption), class_="wide"), caption, "sheet"), listed
                )
            )
    return found


def _mistakes(run: Predictions) -> Markup | None:
    names = run.classes()
    if not names:
        return None
    said = np.stack([run.floats(PROBABILITY + name) for name in names], axis=1).max(axis=1)
    wrong = [i for i in np.argsort(-said, kind="stable") if run.columns[ACTUAL][i] != run.columns[PREDICTED][i]]
    columns = ("run", "run.index", ACTUAL, PREDICTED)
    rows = [
        [
            f"{run.columns['run'][i]}, {run.columns['run.index'][i]}",
            *(run.columns[name][i] for name in columns[2:]),
            percent(said[i]),
        ]
        for i in wrong[:WORST]
    ]
    if not rows:
        return paragraph("No test shot was predicted wrongly.")
    return table(f"The surest of {len(wrong):,} mistakes", ("run, shot", "label", "predicted", "how sure"), rows)
