from pathlib import Path
from typing import Annotated

import typer

from xtcav_ml.config.paths import PREPARED, RESULTS

GROUP = "Data"
EXAMPLES = ("xtcav show", "xtcav show data/prepared/test.h5 --out test.png --shots 5")


def show(
    file: Annotated[Path, typer.Argument(help="A prepared file.")] = PREPARED / "train.h5",
    raw: Annotated[Path | None, typer.Option(help="Folder of its raw files; default: data.raw of params.yaml.")] = None,
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = RESULTS / "show.png",
    shots: Annotated[int, typer.Option(min=1, max=20, help="Shots of each class.")] = 3,
) -> None:
    """Draw raw and prepared frames of each class."""
    from xtcav_ml.config.base import load_section
    from xtcav_ml.config.data import DataParams
    from xtcav_ml.config.simulate import SimulateParams
    from xtcav_ml.science.streak_axes import usual_axes
    from xtcav_ml.system.one_writer import writing
    from xtcav_ml.tools import show as tool

    data = load_section("data", DataParams)
    simulate = load_section("simulate", SimulateParams)
    with writing(out):
        calibration = tool.Calibrated(data.calibration(simulate.calibration), usual_axes(data, simulate))
        tool.draw_sheet(file, raw or Path(data.raw), out, shots, data.layout, calibration)
