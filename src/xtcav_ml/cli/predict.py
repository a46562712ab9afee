from pathlib import Path
from typing import Annotated

import typer

from xtcav_ml.config.paths import PARAMS_FILE, RESULTS

GROUP = "Models"
EXAMPLES = (
    "xtcav predict models/model.keras data/raw/mine",
    "xtcav predict models:/xtcav@champion shots.h5 --out predicted",
)
KEPT = "predictions of finished files are kept; the same command goes on after them"


def predict(
    model: Annotated[
        str, typer.Argument(help="A model file (models/model.keras) or a registered model (models:/xtcav@champion).")
    ],
    files: Annotated[list[Path], typer.Argument(help="Raw files, or folders of them; they need no labels.")],
    out: Annotated[Path, typer.Option(help="Folder for the predictions.")] = RESULTS / "predictions",
    params: Annotated[
        Path, typer.Option(help="File whose section data has the layout of these files, and bad_files.")
    ] = PARAMS_FILE,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads on a CPU; default: all cores.")] = None,
) -> None:
    """Predict with a trained model.

    Writes one HDF5 file per raw file, row for row. Resumes after an interruption.
    """
    import contextlib
    import os

    from xtcav_ml.config.base import load_section
    from xtcav_ml.config.data import DataParams
    from xtcav_ml.config.layout import NOTES
    from xtcav_ml.system.one_writer import writing
    from xtcav_ml.tools import predict as tool

    with contextlib.ExitStack() as stack:
        path, registered = Path(model), model.startswith("models:/")
        if registered:
            from xtcav_ml.tracking.registry import versions

            path = stack.enter_context(versions.local(model))
        given = params != PARAMS_FILE or params.is_file()  # the default is there only in a project
        data = load_section("data", DataParams, params) if given else None
        stack.enter_context(writing(out))
        threads = threads or len(os.sched_getaffinity(0))
        layout, skip_bad = (NOTES, False) if data is None else (data.layout, data.bad_files == "skip")
        sealed = not registered  # the registry has its digest
        tool.predict_files(path, files, out, threads, layout, skip_bad=skip_bad, sealed=sealed)
