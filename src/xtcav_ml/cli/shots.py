"""Looking at shot files and prepared ones, and predicting from them."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from xtcav_ml.config.paths import PREPARED, RESULTS


def scan(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of shot files; default: data.raw of params.yaml.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say what is in a folder of shot files, reading no image; exit code 1 if a file is bad."""
    from xtcav_ml.config.base import load_section
    from xtcav_ml.config.data import DataParams
    from xtcav_ml.config.prepare import PrepareParams
    from xtcav_ml.data.raw_files import IN_PARAMS
    from xtcav_ml.tools import scan as stage

    data = load_section("data", DataParams)
    place, named = (Path(data.raw), IN_PARAMS) if folder is None else (folder, "FOLDER")
    good = stage.run(place, data, load_section("prepare", PrepareParams), as_json, named)
    sys.exit(0 if good else 1)


def relabel(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of shot files; default: data.raw of params.yaml.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="HDF5 file for the computed labels and peaks.")] = None,
) -> None:
    """Compute labels from the waveforms by the rule of params.yaml (simulate.rule), and compare with those stored."""
    from xtcav_ml.config.base import load_section
    from xtcav_ml.config.data import DataParams
    from xtcav_ml.config.simulate import SimulateParams
    from xtcav_ml.data.raw_files import IN_PARAMS
    from xtcav_ml.tools import relabel as stage

    place, named = (Path(load_section("data", DataParams).raw), IN_PARAMS) if folder is None else (folder, "FOLDER")
    stage.run(place, load_section("simulate", SimulateParams).rule, out, named)


def show(
    file: Annotated[Path, typer.Argument(help="A prepared file.")] = PREPARED / "train.h5",
    raw: Annotated[Path | None, typer.Option(help="Folder of its raw files; default: data.raw of params.yaml.")] = None,
    out: Annotated[Path, typer.Option(help="The picture, a PNG file.")] = RESULTS / "show.png",
    shots: Annotated[int, typer.Option(min=1, max=20, help="Shots of each class.")] = 3,
) -> None:
    """Draw shots of a prepared file by class: raw beside prepared, and the mean of each class."""
    from xtcav_ml.config.base import load_section
    from xtcav_ml.config.data import DataParams
    from xtcav_ml.tools import show as stage

    stage.run(file, raw or Path(load_section("data", DataParams).raw), out, shots)


def predict(
    model: Annotated[
        str,
        typer.Argument(
            help="A model that train wrote, as models/model.keras, or a registered one, as models:/xtcav@champion."
        ),
    ],
    files: Annotated[list[Path], typer.Argument(help="Raw shot files, or folders of them; labels are not needed.")],
    out: Annotated[Path, typer.Option(help="Folder for the predictions.")] = RESULTS / "predictions",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads on a CPU; default: all cores.")] = None,
) -> None:
    """Say what a trained model sees in raw shot files: one HDF5 file each, rows as theirs; goes on where it was stopped."""
    import contextlib
    import os
    import tempfile

    from xtcav_ml.tools import predict as stage

    with contextlib.ExitStack() as stack:
        path = Path(model)
        if model.startswith("models:/"):
            from xtcav_ml.lineage import lineage
            from xtcav_ml.tracking.registry import versions

            folder = stack.enter_context(tempfile.TemporaryDirectory())
            path = versions.fetch(lineage.project_root(), model, Path(folder))
        stage.run(path, files, out, threads or len(os.sched_getaffinity(0)))
