"""The raw files of a folder and its subfolders, by content: their names may end as they like."""

import contextlib
import itertools
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xtcav_ml.data.apart import Apart
from xtcav_ml.data.hdf5 import reading, real
from xtcav_ml.system.errors import UserError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5", ".nxs", ".cxi")
"""Names of files that should be HDF5: one is listed even if it is not, so that no damaged file is left out in silence."""

PREDICTED_BY = "model_sha256"
"""Attribute of the files that `xtcav predict` writes, maybe into a subfolder of the raw files: they are no raw files."""

NAMED = 5  # ignored files that are named


@dataclass(frozen=True)
class Listing:
    """The raw files of a folder and its subfolders in the order of their paths, and the other files."""

    folder: Path
    files: tuple[Path, ...]
    ignored: tuple[Path, ...] = ()  # hidden, no HDF5, predictions, or parts of others

    @property
    def note(self) -> str:
        """Return a sentence on the ignored files; nothing if there are none."""
        if not self.ignored:
            return ""
        names = [str(path.relative_to(self.folder)) for path in self.ignored[:NAMED]]
        more = ", ..." if len(self.ignored) > NAMED else ""
        kinds = "hidden, no HDF5, predictions, or parts of others"
        return f"ignored {len(self.ignored):,} ({kinds}): {', '.join(names)}{more}"

    def without(self, others: Collection[Path]) -> "Listing":
        """Return the listing with files that are no raw files after all among the ignored ones. Raises UserError if all are."""
        others = {real(file) for file in others}
        ignored = {file for file in self.files if others and real(file) in others}
        files = tuple(file for file in self.files if file not in ignored)
        listing = replace(self, files=files, ignored=tuple(sorted({*self.ignored, *ignored})))
        if not files:
            raise UserError(
                f"{self.folder}: no raw files (found {listing.note or 'an empty folder'}, expected HDF5). Fix: copy raw files "
                "there, or correct data.raw in params.yaml or the argument"
            )
        return listing


def list_files(folder: Path) -> Listing:
    """Return the HDF5 files in `folder` and its subfolders, by content: their names may end as they like.

    Opens none: predictions, and parts of others, are among them until who opens them takes them out. Raises UserError if a
    folder cannot be read or there are none.
    """
    files: list[Path] = []
    ignored: list[Path] = []
    try:
        for path in _walk(folder):
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)  # as other systems' ._x
            raw = not hidden and _is_hdf5(path)
            (files if raw else ignored).append(path)
    except OSError as error:
        raise UserError(
            f"{error.filename}: not readable (found {error.strerror!r}, expected a folder of raw files). Fix: correct data.raw "
            "in params.yaml or the argument, or fetch the data with `dvc pull`"
        ) from None
    return Listing(folder, tuple(sorted(files)), tuple(sorted(ignored))).without(())


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below `folder`, through links too, each folder once. Raises OSError if one cannot be read."""

    def fail(error: OSError) -> None:
        raise error

    entered: set[tuple[int, int]] = set()
    for path, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        status = Path(path).stat()
        if (status.st_dev, status.st_ino) in entered:  # by a link that leads up
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders.sort()
        yield from (Path(path, name) for name in names)


def _is_hdf5(path: Path) -> bool:
    """Return whether a file is, or by its name should be, HDF5; its signature may come after a block of the user's own."""
    if path.suffix.lower() in SUFFIXES:
        return True
    if not path.is_file():  # opening a pipe would wait for its writer
        return False
    try:
        with path.open("rb") as file:
            starts = itertools.takewhile(lambda start: start < path.stat().st_size, (0, *(512 << n for n in range(32))))
            return any(os.pread(file.fileno(), len(SIGNATURE), start) == SIGNATURE for start in starts)
    except OSError:
        return True  # it may be: `file_problems` reports that it cannot be read


def predictions(files: Sequence[Path]) -> list[Path]:
    """Return those of the files that `xtcav predict` wrote."""
    with Apart(_is_prediction, lambda line: False) as look:
        return [path for path, found in zip(files, look.each(files), strict=True) if found]


def _is_prediction(path: Path) -> bool:
    with contextlib.suppress(UserError), reading(path) as file:
        return PREDICTED_BY in file.attrs
    return False
