from pathlib import Path
from typing import Annotated

import typer

GROUP = "Data"
EXAMPLES = ("xtcav import lcls2017 FOLDER", "xtcav import lcls2017 FOLDER --out data/raw/mine")


def import_data(
    format: Annotated[str, typer.Argument(help="Format of the files: lcls2017.")],
    folder: Annotated[Path, typer.Argument(help="Folder that has them.")],
    out: Annotated[Path, typer.Option(help="Folder to write raw files to.")] = Path("data/raw/lcls2017"),
) -> None:
    """Convert public data into raw shot files.

    docs/real-data.md says where they are. The files are only read.
    """
    from xtcav_ml.system.one_writer import writing
    from xtcav_ml.tools import import_data as tool

    with writing(out):
        tool.import_folder(format, folder, out)


globals()["import"] = import_data  # the command's name, which no function of Python can have
