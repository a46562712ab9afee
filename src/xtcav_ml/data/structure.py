"""The datasets of any HDF5 file, whatever their names, and numbers in them that seem to mean that there is no value."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xtcav_ml.data.apart import Apart
from xtcav_ml.data.hdf5 import UNREADABLE, reading, real
from xtcav_ml.data.raw_dataset import ALONE, Misfit, located, require_stored
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import counting

MOST_DATASETS = 2000  # of a file, and the groups on the way to them
MOST_VALUES = 2**20  # of a column that is read
FEWEST_ROWS = 20  # of a column that is judged
RARE = 0.01  # share of the rows with a number that is repeated by chance


@dataclass(frozen=True)
class Entry:
    """A dataset of a file, or a link that leads out of it."""

    path: str
    shape: tuple[int, ...] | None
    dtype: str
    storage: str  # in words
    numbers: bool = False
    parts: tuple[str, ...] = ()  # names of other files that its data are in

    @property
    def elsewhere(self) -> bool:
        """Return whether its data are in other files."""
        return bool(self.parts)

    @property
    def structure(self) -> tuple[object, ...]:
        """Return what files of the same structure have in common."""
        return self.path, self.dtype, None if self.shape is None else self.shape[1:]

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Return the lengths of a row's axes, but those of length 1."""
        return tuple(length for length in (self.shape or ())[1:] if length != 1)


def entries(path: Path) -> list[Entry]:
    """Return the datasets of a file in the order of their paths. Raises UserError if it is not readable HDF5."""
    with reading(path) as file:
        return sorted(_walk(file), key=lambda entry: entry.path)


def _walk(file: h5py.File) -> Iterator[Entry]:
    """Yield the datasets of a file and its links; groups are entered once, however many links lead there."""
    waiting: list[tuple[str, Any]] = [("", file)]
    entered: set[int] = set()
    seen = 0
    while waiting and seen < MOST_DATASETS:
        prefix, group = waiting.pop()
        if (address := h5py.h5o.get_info(group.id).addr) in entered:
            continue
        entered.add(address)
        for name in group:
            seen += 1
            path, link = f"{prefix}{name}", group.get(name, getlink=True)
            if isinstance(link, h5py.HardLink):
                node = _node(group, name)
                if isinstance(node, h5py.Group):
                    waiting.append((f"{path}/", node))
                elif isinstance(node, h5py.Dataset):
                    yield (entry := _entry(path, node))
                    yield from _fields(entry, node)
            elif isinstance(link, h5py.ExternalLink):
                yield Entry(path, None, "link", f"in {link.filename}", parts=(link.filename,))


def _node(group: h5py.Group, name: str) -> Any:
    try:
        return group[name]
    except UNREADABLE:
        return None


def _entry(path: str, dataset: h5py.Dataset) -> Entry:
    try:
        kind, shape = dataset.dtype, dataset.shape
    except UNREADABLE:  # of a type that numpy lacks
        return Entry(path, None, "unknown type", "")
    chunks = f"chunks {dataset.chunks}" if dataset.chunks else "in one piece"
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(number)[3].decode(errors="replace") for number in range(properties.get_nfilters())]
    parts = {name for name, *_ in dataset.external or ()}
    parts |= {each.file_name for each in dataset.virtual_sources()} - {"."} if dataset.is_virtual else set()
    storage = "in other files" if parts else ", ".join([chunks, *filters])
    return Entry(path, shape, str(kind), storage, kind.kind in "biuf", tuple(sorted(parts)))


def _fields(entry: Entry, dataset: h5py.Dataset) -> Iterator[Entry]:
    """Yield the fields of a compound dataset as datasets of their own."""
    if entry.shape is None or not (kinds := dataset.dtype.fields):
        return
    for name, (kind, *_) in kinds.items():
        numbers = kind.base.kind in "biuf"
        yield Entry(f"{entry.path}/{name}", entry.shape + kind.shape, str(kind.base), "a field", numbers, entry.parts)


def parts_of(files: Sequence[Path]) -> set[Path]:
    """Return the other files that any dataset of files of HDF5 has its data in."""
    with Apart(entries) as look:
        return {
            real(file.parent / part)
            for file, found in zip(files, look.each(files), strict=True)
            for entry in found
            for part in entry.parts
        }


def structures(files: Sequence[Path]) -> list[tuple[list[Path], list[Entry]]]:
    """Return files of the same structure, and the datasets of the first of them; the commonest structure first.

    Files that are not readable HDF5 are left out.
    """
    kinds: dict[tuple[object, ...], tuple[list[Path], list[Entry]]] = {}
    with Apart(_readable, lambda line: None) as look, counting("files", len(files)) as advance:
        for file, datasets in zip(files, look.each(files), strict=True):
            if datasets is not None:
                kinds.setdefault(tuple(entry.structure for entry in datasets), ([], datasets))[0].append(file)
            advance(1)
    return sorted(kinds.values(), key=lambda kind: -len(kind[0]))


def _readable(file: Path) -> list[Entry] | None:
    with contextlib.suppress(UserError):
        return entries(file)
    return None


def suspects_in(files: Sequence[Path], datasets: Sequence[Entry]) -> dict[str, tuple[float, ...]]:
    """Return the numbers that seem to mean no value, by the path of a dataset of one number a shot that holds some.

    Reads the largest of the files, which have the same structure. None if it cannot be read.
    """
    with Apart(functools.partial(_suspects_in, datasets=datasets)) as look, contextlib.suppress(UserError):
        return look(max(files, key=lambda file: file.stat().st_size))
    return {}


def _suspects_in(path: Path, datasets: Sequence[Entry]) -> dict[str, tuple[float, ...]]:
    found: dict[str, tuple[float, ...]] = {}
    with reading(path) as file:
        for entry in datasets:
            plain = entry.numbers and not entry.elsewhere and entry.dtype != "bool"
            if plain and entry.shape is not None and len(entry.shape) == 1:
                with contextlib.suppress(Misfit, *UNREADABLE):
                    dataset, field = located(file, entry.path, ALONE)
                    require_stored(dataset, ALONE)
                    found[entry.path] = suspects(
                        dataset[:MOST_VALUES] if field is None else dataset[field, :MOST_VALUES]
                    )
    return {name: numbers for name, numbers in found.items() if numbers}


def suspects(values: NDArray[Any]) -> tuple[float, ...]:
    """Return numbers (N,) that are repeated far outside the others, as -999, 9999, or 0 among times: no value, maybe."""
    finite = values[np.isfinite(values)]
    if len(finite) < FEWEST_ROWS:
        return ()
    found = []
    ends = finite.min(), finite.max()
    inner = finite[(finite != ends[0]) & (finite != ends[1])]
    for extreme in ends:
        rest = inner if len(inner) else finite[finite != extreme]
        repeated = np.count_nonzero(finite == extreme)
        if not len(rest) or repeated < max(3, RARE * len(finite)):
            continue
        low, high = float(rest.min()), float(rest.max())
        margin = max(high - low, 1.0)
        if extreme < low - margin or extreme > high + margin:
            found.append(extreme.item())
    return tuple(found)
