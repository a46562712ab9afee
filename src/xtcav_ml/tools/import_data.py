"""import: public data in other formats -> raw shot files."""

from collections.abc import Callable
from pathlib import Path

from xtcav_ml.data import lcls2017
from xtcav_ml.data.hdf5 import create_rows, creating
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console


def import_folder(format: str, folder: Path, out: Path) -> list[Path]:
    """Write the shots in `folder`, of a `format` of FORMATS, as raw files into folder `out`, and return their paths.

    Other files in `out` stay. Raises UserError for an unknown format, or if the folder does not have it.
    """
    if format not in FORMATS:
        raise UserError(
            f"FORMAT: unknown (found {format!r}, expected {' or '.join(FORMATS)}). Fix: choose one of these"
        )
    if not folder.is_dir():
        raise UserError(
            f"{folder}: missing (expected a folder with the files of {format}). Fix: name the folder that has them"
        )
    return FORMATS[format](folder, out)


def _import_lcls2017(folder: Path, out: Path) -> list[Path]:
    """Write one file a run, without frames."""
    paths = []
    for run, chunks in lcls2017.runs(folder).items():
        columns = lcls2017.read_run(run, chunks)
        paths.append(out / f"lcls2017-r{run:03d}.h5")
        with creating(paths[-1]) as file:
            for name, values in columns.items():
                create_rows(file, name, len(values), (), values.dtype)[:] = values
        shots = len(columns["run"])
        console().print(f"import: run {run}, {shots:,} shots with {len(columns)} values and no frames -> {paths[-1]}")
    return paths


FORMATS: dict[str, Callable[[Path, Path], list[Path]]] = {"lcls2017": _import_lcls2017}
"""The function of each format, by its name."""
