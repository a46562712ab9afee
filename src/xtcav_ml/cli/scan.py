import sys
from pathlib import Path
from typing import Annotated

import typer

GROUP = "Data"
EXAMPLES = ("xtcav scan", "xtcav scan data/raw/mine --propose  # writes a layout to params.yaml")


def scan(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of raw files; default: data.raw of params.yaml.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    propose: Annotated[
        bool, typer.Option("--propose", help="Write a layout that fits files of other programs to params.yaml.")
    ] = False,
) -> None:
    """Inspect a folder of raw files.

    Counts shots, labels and what `prepare` would keep, without reading an image. Lists the datasets of files that do not fit
    data.layout, and proposes one. Exit code 1 if a file is bad.
    """
    from xtcav_ml.config.base import load_section
    from xtcav_ml.config.data import DataParams
    from xtcav_ml.config.paths import PARAMS_FILE
    from xtcav_ml.config.prepare import PrepareParams
    from xtcav_ml.system.one_writer import writing
    from xtcav_ml.tools import scan as tool

    data = load_section("data", DataParams)
    prepare = load_section("prepare", PrepareParams)
    changed = PARAMS_FILE if propose else None
    with writing(changed):
        good = tool.scan_folder(folder or Path(data.raw), data, prepare, as_json, changed)
    sys.exit(0 if good else 1)
