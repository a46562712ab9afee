from pathlib import Path
from typing import Annotated

import typer

GROUP = "Data"
EXAMPLES = ("xtcav relabel", "xtcav relabel data/raw/mine --out labels.h5")


def relabel(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of raw files; default: data.raw of params.yaml.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="HDF5 file to write labels and peaks to; default: none.")] = None,
) -> None:
    """Recompute the labels from the waveforms and compare.

    The rule is simulate.rule of params.yaml. Finds waveforms, energies and keys where data.layout has them.
    """
    from xtcav_ml.config.base import load_section
    from xtcav_ml.config.data import DataParams
    from xtcav_ml.config.simulate import SimulateParams
    from xtcav_ml.system.one_writer import writing
    from xtcav_ml.tools import relabel as tool

    data = load_section("data", DataParams)
    rule = load_section("simulate", SimulateParams).rule
    with writing(out):
        tool.relabel_folder(folder or Path(data.raw), rule, out, data.layout)
