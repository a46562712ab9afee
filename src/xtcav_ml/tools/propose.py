"""The layout of files that other programs wrote: proposed from the names, shapes and types of their datasets."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xtcav_ml.config.base import validate_section
from xtcav_ml.config.data import DataParams
from xtcav_ml.config.layout import DERIVED, PRESETS, RUN_IN_NAME, Layout, Source
from xtcav_ml.config.prepare import PrepareParams
from xtcav_ml.config.schema import IMAGE
from xtcav_ml.data.raw_dataset import number_in_name
from xtcav_ml.data.raw_files import required_columns
from xtcav_ml.data.structure import Entry, structures, suspects_in

MOST_STRUCTURES = 3  # that are described


def describe(files: Sequence[Path], data: DataParams, prepare: PrepareParams) -> dict[str, Any]:
    """Return the structures of files as JSON values, changes of params.yaml that fit the commonest, and what it still lacks."""
    kinds = structures(files)
    described = [_described(members, entries) for members, entries in kinds[:MOST_STRUCTURES]]
    names = [IMAGE, *required_columns(prepare)]
    changes: dict[str, Any] = {}
    lacking: list[str] = []
    if kinds:
        (first, *_), entries = kinds[0]
        changes = propose(first, entries, names, data.frame_shape)
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
    preset = max(PRESETS, key=lambda name: _named(name, paths, names))
    layout = Layout.model_validate({"preset": preset})
    image = _frames(entries, layout.source(IMAGE).path or "", shape)
    datasets: dict[str, Any] = {}
    if image is not None and image.path != layout.source(IMAGE).path:
        datasets[IMAGE] = image.path
    for name in not_found(path, entries, names, layout):
        same = [entry.path for entry in entries if name != IMAGE and entry.numbers and _same_name(entry.path, name)]
        if len(same) == 1:
            datasets[name] = same[0]
        elif name in DERIVED:
            datasets[name] = None
        elif name == "run" and number_in_name(path, RUN_IN_NAME.file_name or "") is not None:
            datasets[name] = {"file_name": RUN_IN_NAME.file_name}
    proposed: dict[str, Any] = {"preset": preset} | ({"datasets": datasets} if datasets else {})
    used = [datasets.get(name) or layout.source(name).path for name in (*names, IMAGE)]
    if any(isinstance(each, str) and each in paths and paths[each].elsewhere for each in used):
        proposed["references"] = "follow"
    changes: dict[str, Any] = {"data.layout": proposed}
    if image is not None and image.shape is not None and image.row_shape != shape:
        changes["data.frame_shape"] = list(image.row_shape)
    return changes


def not_found(path: Path, entries: Sequence[Entry], names: Iterable[str], layout: Layout) -> list[str]:
    """Return the names that `layout` does not lead to in a file of these datasets."""
    paths = {entry.path: entry for entry in entries}
    return [name for name in names if not _there(path, layout.source(name), paths)]


def _there(path: Path, source: Source, paths: Mapping[str, Entry]) -> bool:
    if source.file_name is not None:
        return number_in_name(path, source.file_name) is not None
    return source.path is None or "@" in source.path or source.path.strip("/") in paths


def _named(preset: str, paths: Mapping[str, Entry], names: Iterable[str]) -> int:
    """Return how many datasets that a preset names are there; for the notes' schema, those under their own names."""
    sources = PRESETS[preset].values() if PRESETS[preset] else [Source(path=name) for name in names]
    return len({source.path for source in sources if source.path in paths})


def _frames(entries: Sequence[Entry], usual: str, shape: tuple[int, int]) -> Entry | None:
    """Return the dataset of frames: at the usual path, else of `shape`, else the largest; None if there is none."""
    frames = [entry for entry in entries if (entry.numbers and len(entry.row_shape) == 2) or entry.path == usual]
    order = [(entry.path == usual, entry.row_shape == shape, entry.row_shape) for entry in frames]
    return frames[max(range(len(frames)), key=order.__getitem__)] if frames else None


def _same_name(path: str, name: str) -> bool:
    """Return whether a path ends in `name`, or in its last part, apart from capitals, dots and underscores."""
    parts, wanted = (text.lower().replace("_", "").replace(".", "/").split("/") for text in (path, name))
    return parts[-len(wanted) :] == wanted or (parts[-1] == wanted[-1] and len(wanted[-1]) > len("index"))
