"""The layout of files that other programs wrote: proposed from the names, shapes and types of their datasets."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xtcav_ml.config.base import validate_section
from xtcav_ml.config.data import DataParams
from xtcav_ml.config.layout import DERIVED, PRESETS, RUN_IN_NAME, Layout, Source
from xtcav_ml.config.prepare import PrepareParams
from xtcav_ml.config.schema import EVENT_KEY, IMAGE
from xtcav_ml.data.raw_column import number_in_name
from xtcav_ml.data.raw_files import required_columns
from xtcav_ml.data.structure import Entry, structures, suspects_in

MOST_STRUCTURES = 3  # that are described


def describe(files: Sequence[Path], data: DataParams, prepare: PrepareParams) -> dict[str, Any]:
    """Return the structures of files as JSON values, changes of params.yaml that fit the commonest, and what it still lacks."""
    kinds = structures(files)
    described = [_described(members, entries) for members, entries in kinds[:MOST_STRUCTURES]]
    names = [*([] if data.frame_shape is None else [IMAGE]), *required_columns(prepare)]
    changes: dict[str, Any] = {}
    lacking: list[str] = []
    if kinds:
        (first, *_), entries = kinds[0]
        changes = propose(first, entries, names, data.raw_shape)
        layout = validate_section(changes["data.layout"], Layout, "data.layout")
        lacking = not_found(first, entries, names, layout)
        if layout == data.layout:
            del changes["data.layout"]
    return {"structures": described, "proposal": changes, "not_found": lacking}


def _described(files: Sequence[Path], entries: Sequence[Entry]) -> dict[str, Any]:
    suspects = suspects_in(files, entries)
    rows = [
        {"path": entry.path, "shape": entry.shape, "type": entry.dtype, "storage": entry.storage}
        | {"suspects": list(suspects.get(entry.path, ()))}
        for entry in entries
    ]
    return {"files": len(files), "first": str(files[0]), "datasets": rows}


def propose(path: Path, entries: Sequence[Entry], names: Sequence[str], shape: tuple[int, int]) -> dict[str, Any]:
    """Return values of keys of params.yaml, by dotted key, with which `names` are read from a file of these datasets.

    Recognizes the preset by the names that are there, the frames by `shape` (rows, columns) or else by their size, and other
    datasets by the end of their paths. A key of a shot that is not found is declared absent; what else is not, is left out.
    """
    paths = {entry.path: entry for entry in entries}
    preset = max(PRESETS, key=lambda name: _fit(name, paths, names))
    layout = Layout.model_validate({"preset": preset})
    image = _frames(entries, layout.source(IMAGE).path or "", shape) if IMAGE in names else None
    datasets: dict[str, Any] = {}
    if image is not None and image.path != layout.source(IMAGE).path:
        datasets[IMAGE] = image.path
    for name in not_found(path, entries, [each for each in names if each != IMAGE], layout):
        if (found := _source(name, path, layout, paths)) is not None or name in DERIVED:
            datasets[name] = found
    proposed: dict[str, Any] = {"preset": preset} | ({"datasets": datasets} if datasets else {})
    layout = validate_section(proposed, Layout, "data.layout")
    used = [paths[source] for name in names if (source := layout.source(name).path) in paths]
    if any(entry.elsewhere for entry in used):
        proposed["references"] = "follow"
    changes: dict[str, Any] = {"data.layout": proposed}
    if image is not None and image.shape is not None and (sides := _sides(image)) != shape:
        changes["data.frame_shape"] = list(sides)
    return changes


def _source(name: str, path: Path, layout: Layout, paths: Mapping[str, Entry]) -> str | dict[str, Any] | None:
    """Return where the file at `path` seems to have `name`, of one number a shot, as an entry of data.layout.datasets."""
    source = layout.source(name)
    if place := _place(source, paths):
        return {"path": place, "half": source.half} if source.half else place
    same = [each for each, entry in paths.items() if entry.numbers and not entry.row_shape and _same_name(each, name)]
    if len(same) == 1:
        return same[0]
    in_name = name == "run" and number_in_name(path, RUN_IN_NAME.file_name or "") is not None
    return {"file_name": RUN_IN_NAME.file_name} if in_name else None


def not_found(path: Path, entries: Sequence[Entry], names: Iterable[str], layout: Layout) -> list[str]:
    """Return the names that `layout` does not lead to in a file of these datasets."""
    paths = {entry.path: entry for entry in entries}
    return [name for name in names if not _there(path, layout.source(name), paths)]


def _there(path: Path, source: Source, paths: Mapping[str, Entry]) -> bool:
    if source.file_name is not None:
        return number_in_name(path, source.file_name) is not None
    return source.path is None or "@" in source.path or source.path.strip("/") in paths


def _fit(preset: str, paths: Mapping[str, Entry], names: Iterable[str]) -> tuple[int, int]:
    """Return how many parts of the event key that a preset names are there, and how many datasets are at its paths.

    For the notes' schema these are those under their own names. A preset that lacks a key which is there would lose it.
    """
    sources = PRESETS[preset] or {name: Source(path=name) for name in names}
    found = {name: place for name, source in sources.items() if (place := _place(source, paths))}
    exact = {place for name, place in found.items() if place == sources[name].path}
    return len(found.keys() & set(EVENT_KEY)), len(exact)


def _place(source: Source, paths: Mapping[str, Entry]) -> str | None:
    """Return where a file has what a preset names: at its path, or at the one path that ends in it."""
    if source.path is None or "@" in source.path:
        return None
    ends = [path for path, entry in paths.items() if f"/{path}".endswith(f"/{source.path}") and _holds(entry, source)]
    return source.path if source.path in ends else ends[0] if len(ends) == 1 else None


def _holds(entry: Entry, source: Source) -> bool:
    """Return whether a dataset has numbers, and 64 bits where halves are asked for."""
    wide = entry.numbers and np.dtype(entry.dtype).kind in "iuf" and np.dtype(entry.dtype).itemsize == 8
    return wide if source.half else entry.numbers


def _frames(entries: Sequence[Entry], usual: str, shape: tuple[int, int]) -> Entry | None:
    """Return the dataset of frames: at the usual path, else of `shape`, else the largest; None if there is none.

    A table of two axes is the one frame of a file if no other dataset has as many rows.
    """
    frames = [entry for entry in entries if (entry.numbers and len(entry.row_shape) == 2) or entry.path == usual]
    if not frames:
        rows = [entry.shape[0] for entry in entries if entry.shape]
        tables = [entry for entry in entries if entry.numbers and entry.shape and len(entry.row_shape) == 1]
        frames = [entry for entry in tables if rows.count((entry.shape or (0,))[0]) == 1]
    order = [(entry.path == usual, _sides(entry) == shape, _sides(entry)) for entry in frames]
    return frames[max(range(len(frames)), key=order.__getitem__)] if frames else None


def _sides(frames: Entry) -> tuple[int, ...]:
    """Return rows and columns of a frame of a dataset of many, or of one."""
    return frames.row_shape if len(frames.row_shape) == 2 else frames.shape or ()


def _same_name(path: str, name: str) -> bool:
    """Return whether a path ends in `name`, or in its last part, apart from capitals, dots and underscores."""
    parts, wanted = (text.lower().replace("_", "").replace(".", "/").split("/") for text in (path, name))
    return parts[-len(wanted) :] == wanted or (parts[-1] == wanted[-1] and len(wanted[-1]) > len("index"))
