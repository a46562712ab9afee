"""A dataset of a raw file: the way to it, and whether all of its data are there and how they are stored.

A raw file is not trusted. Nothing outside it is opened unless params.yaml allows it, and then only below the folder of the
raw files; nothing is allocated by a size that the file only declares.
"""

import copy
import functools
import itertools
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  registers the filters of detector software: bitshuffle, lz4, zstd, blosc
import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.layout import NOTES, Layout
from xtcav_ml.data.hdf5 import file_state, reading, real, require_unchanged
from xtcav_ml.data.selections import cover
from xtcav_ml.system.errors import brief

MAX_CHUNK, MAX_COLUMN_CHUNK = 2**28, 2**24
"""Bytes that a chunk may unpack to, and one of a dataset with a value a shot: a megabyte of HDF5 can hold one of a gigabyte."""
MAX_CACHE = 2**30  # bytes of unpacked chunks that are kept
MAX_LINKS = 16  # soft links on the way to a dataset
MAX_PARTS = 10_000  # parts of a virtual dataset


PREFIXES = ("HDF5_VDS_PREFIX", "HDF5_EXT_PREFIX", "HDF5_EXTFILE_PREFIX")
"""Environment variables that would make HDF5 look for other files elsewhere."""

WRITE_AGAIN = "write the file again, or remove it from the folder"
COPY_AGAIN = "copy it again"
UNPACK = "unpack it with `h5repack`"

ARRANGING = (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_NBIT, h5py.h5z.FILTER_SCALEOFFSET)
"""Filters that unpack to a size which the file cannot choose."""
SOUND = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
"""Filters that do not crash, whatever they are given."""
MOST_OVERHEAD = 4096  # bytes that filters may add to a chunk, beside an eighth


class Misfit(Exception):
    """A dataset breaks a rule."""

    def __init__(self, problem: str, found: object, expected: object, fix: str) -> None:
        super().__init__(f"{problem} (found {brief(found)}, expected {expected}). Fix: {fix}")


class Folder:
    """The layout of raw files, and the folder that they may refer into if it allows that; None: into no folder."""

    def __init__(self, root: Path | None = None, layout: Layout = NOTES) -> None:
        self.layout, self.root = layout, root if layout.references == "follow" else None
        self.source = functools.cache(layout.source)
        self.states: dict[Path, tuple[int, ...]] = {}  # of files that others refer to, at the first look
        self.parts: set[Path] = set()  # of them, those that one file refers to

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy in another process needs."""
        return {name: value for name, value in vars(self).items() if name != "source"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.source = functools.cache(self.layout.source)

    def for_file(self) -> "Folder":
        """Return the folder as one file sees it, whose `parts` are its own."""
        own = copy.copy(self)
        own.parts = set()
        return own

    def allow(self, names: Iterable[str], file: h5py.File) -> list[Path]:
        """Return the files that a file refers to. Raises Misfit if they may not be read, or are missing."""
        names = list(names)
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        if self.root is None:
            raise Misfit(
                "stored in another file",
                shown,
                "data in the file itself",
                "set data.layout.references: follow, or copy the data into the file",
            )
        if redirected := [name for name in PREFIXES if name in os.environ]:
            raise Misfit("stored in another file", redirected[0], "HDF5's own search", f"unset {redirected[0]}")
        paths = [real(Path(file.filename).parent / name) for name in names]
        for path in paths:
            if not path.is_relative_to(real(self.root)):
                raise Misfit("stored outside the folder", path, f"a file below {self.root}", "copy it there")
            if not path.is_file():
                raise Misfit("a part is missing", f"no file {path}", "all parts", "copy it there")
            require_unchanged(path, self.states.setdefault(path, file_state(path)))
        self.parts.update(paths)
        return paths

    def require_unchanged(self) -> None:
        """Raise UserError if one of the `parts` has changed since the first look."""
        for path in self.parts:
            require_unchanged(path, self.states[path])


def locate(
    file: h5py.File, path: str, folder: Folder, cache: tuple[int, int] | None = None
) -> h5py.Dataset | h5py.Group | h5py.Datatype | None:
    """Return the object at `path`, through links within the file, and through others if `folder` allows; None if there is none.

    `cache` is the number of slots and of bytes for the unpacked chunks of a dataset. Raises Misfit if a link must not be
    followed.
    """
    node: Any = file
    parts, links = [part for part in path.split("/") if part], 0
    while parts:
        part = parts.pop(0)
        name = part.encode()
        if not isinstance(node, h5py.Group) or not node.id.links.exists(name):
            return None
        kind = node.id.links.get_info(name).type
        if kind == h5py.h5l.TYPE_HARD:
            node = _opened(node, name, cache)
        elif kind == h5py.h5l.TYPE_SOFT:
            links += 1
            if links > MAX_LINKS:
                raise Misfit("too many links", f"more than {MAX_LINKS}", "a dataset", "name the dataset itself")
            target = node.id.links.get_val(name).decode()
            node = node.file if target.startswith("/") else node
            parts = [each for each in target.split("/") if each] + parts
        else:
            link = node.get(part, getlink=True)
            (other,) = folder.allow([link.filename], node.file)
            node, parts = h5py.File(other, "r", locking=False), [each for each in link.path.split("/") if each] + parts
    return node


def located(file: h5py.File, path: str, folder: Folder, cache: tuple[int, int] | None = None) -> tuple[Any, str | None]:
    """Return the object at `path` as `locate` does, or a compound dataset and the name of the field that the path ends in."""
    found = locate(file, path, folder, cache)
    parent, _, field = path.rpartition("/")
    if found is not None or not parent:
        return found, None
    compound = locate(file, parent, folder)
    fields = compound.dtype.fields if isinstance(compound, h5py.Dataset) else None
    return (compound, field) if fields and field in fields else (None, None)


def _opened(group: h5py.Group, name: bytes, cache: tuple[int, int] | None) -> Any:
    found = h5py.h5o.open(group.id, name)
    if isinstance(found, h5py.h5g.GroupID):
        return h5py.Group(found)
    if not isinstance(found, h5py.h5d.DatasetID):
        return h5py.Datatype(found)
    external = found.get_create_plist().get_external_count()
    if cache is None and not external:
        return h5py.Dataset(found)
    del found  # HDF5 sets the following only when it opens a dataset that nobody has open
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    if external:  # for others a prefix would not be that of the same dataset, opened by another name of the file
        access.set_efile_prefix(os.fsencode(Path(group.file.filename).parent))  # else from where the command runs
    if cache is not None:
        access.set_chunk_cache(*cache, 0.75)
    return h5py.Dataset(h5py.h5d.open(group.id, name, access))


def require_stored(dataset: h5py.Dataset, folder: Folder) -> None:
    """Raise Misfit unless all data of a dataset are there and can be read, but for rows that are `unwritten`."""
    properties = dataset.id.get_create_plist()
    if properties.get_layout() == h5py.h5d.VIRTUAL:
        _require_parts(dataset, folder)
        return
    if properties.get_external_count():
        _require_external(dataset, folder)
        return
    if properties.get_layout() != h5py.h5d.CHUNKED:
        return
    size = math.prod(properties.get_chunk()) * dataset.dtype.itemsize
    most = MAX_CHUNK if dataset.ndim > 1 else MAX_COLUMN_CHUNK
    if size > most:
        raise Misfit("chunks are too large", f"{size:,} bytes", f"at most {most:,}", "use `h5repack -l`")
    if filters := [properties.get_filter(number) for number in range(properties.get_nfilters())]:
        _require_packed_once(filters)
        _require_packed_smaller(dataset, size)


def _require_packed_once(filters: Sequence[tuple[int, int, tuple[int, ...], bytes]]) -> None:
    """Raise Misfit unless the filters of a dataset are installed and only one of them packs: more unpack to a million times."""
    for code, _, _, name in filters:
        if not h5py.h5z.filter_avail(code):
            raise Misfit(
                "packed with a filter that is not installed",
                f"{name.decode(errors='replace') or 'filter'} ({code})",
                "gzip, lzf, or a filter of hdf5plugin",
                UNPACK,
            )
    packing = [name for code, _, _, name in filters if code not in ARRANGING]
    if len(packing) > 1 or len({code for code, *_ in filters}) < len(filters):
        raise Misfit("packed more than once", f"{len(filters)} filters", "each filter once, and one that packs", UNPACK)


def _require_packed_smaller(dataset: h5py.Dataset, size: int) -> None:
    """Raise Misfit if chunks that unpack to `size` bytes take more in the file: who made it means them to unpack to others."""
    largest = 0

    def look(chunk: Any) -> None:
        nonlocal largest
        largest = max(largest, chunk.size)

    dataset.id.chunk_iter(look)
    if largest > size + size // 8 + MOST_OVERHEAD:
        found, expected = f"{largest:,} bytes packed", f"about {size:,} at most"
        raise Misfit("packed chunks are larger than unpacked ones", found, expected, WRITE_AGAIN)


def tiles(dataset: h5py.Dataset) -> int:
    """Return the number of chunks that a row of a chunked dataset lies in."""
    return math.prod(-(-length // chunk) for length, chunk in zip(dataset.shape[1:], dataset.chunks[1:], strict=True))


def frames_shape(dataset: h5py.Dataset) -> tuple[int, int, int]:
    """Return frames, rows and columns; axes of length 1 beside these do not count. Raises Misfit for another shape."""
    axes: list[int] = list(dataset.shape or ())
    sides = axes[-2:] if len(axes) in (2, 3) else [length for length in axes[1:] if length != 1]
    if len(sides) != 2:
        raise Misfit("wrong shape", dataset.shape, "(shots, rows, columns)", "correct data.layout")
    return axes[0] if len(axes) > 2 else 1, sides[0], sides[1]


def offset_in(file: h5py.File, frames: h5py.Dataset) -> int | None:
    """Return where int16 in one piece begin in the file; None for others, which HDF5 must read."""
    own = not frames.is_virtual and not frames.external and frames.file == file
    if not own or frames.id.get_type() != h5py.h5t.NATIVE_INT16:  # numpy calls 12 bits in 16 int16 as well
        return None
    offset: int | None = frames.id.get_offset()  # None unless they are in one piece
    return offset


def packed_doubtfully(dataset: h5py.Dataset) -> bool:
    """Return whether HDF5 may crash on the values: all but a few filters trust what the file says of them."""
    properties = dataset.id.get_create_plist()
    codes = {properties.get_filter(number)[0] for number in range(properties.get_nfilters())}
    return bool(dataset.is_virtual or codes - SOUND)


def slow_chunks(dataset: h5py.Dataset) -> Misfit | None:
    """Return why rows are slow to read if the chunks of one do not fit into memory, and are unpacked anew for each row."""
    if dataset.chunks is None:
        return None
    size = tiles(dataset) * math.prod(dataset.chunks) * dataset.dtype.itemsize
    if size <= MAX_CACHE:
        return None
    lengths = "x".join(map(str, (1, *dataset.shape[1:])))
    fix = f"`h5repack -l {dataset.name[1:]}:CHUNK={lengths} IN OUT`"
    return Misfit("slow, the chunks of a row exceed the memory", f"{size:,} bytes", f"at most {MAX_CACHE:,}", fix)


def unwritten(dataset: h5py.Dataset) -> NDArray[np.bool_] | None:
    """Return the rows (N,) of a dataset that were not wholly written: HDF5 reads zeros there. None if there are none.

    A fill value that the file names is meant to be read.
    """
    properties = dataset.id.get_create_plist()
    layout = properties.get_layout()
    if layout == h5py.h5d.CONTIGUOUS and dataset.id.get_storage_size():
        return None
    shape = dataset.shape
    elsewhere = layout == h5py.h5d.VIRTUAL or properties.get_external_count()  # whose parts are checked
    if elsewhere or not math.prod(shape or (0,)) or properties.fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED:
        return None
    rows = shape[0] if shape else 1
    if layout != h5py.h5d.CHUNKED:
        return np.ones(rows, bool) if layout == h5py.h5d.CONTIGUOUS else None
    length, *_ = chunks = properties.get_chunk()
    written, wanted = (
        dataset.id.get_num_chunks(),
        [-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True)],
    )
    if written == math.prod(wanted):
        return None
    counts = np.zeros(wanted[0], np.int64)

    def count(chunk: Any) -> None:
        counts[chunk.chunk_offset[0] // length] += 1

    if written:
        dataset.id.chunk_iter(count)
    return np.asarray(np.repeat(counts < math.prod(wanted[1:]), length)[:rows])


def require_written(dataset: h5py.Dataset, blank: NDArray[np.bool_] | None = None) -> None:
    """Raise Misfit if rows of a dataset are `unwritten`, other than those that are `blank` (N,), which hold no shot."""
    missing = unwritten(dataset)
    if missing is None:
        return
    shots = missing if blank is None or len(blank) != len(missing) else missing & ~blank
    if shots.any():
        found = f"{np.count_nonzero(missing):,} of {len(missing):,} rows unwritten, row {np.argmax(shots)} the first"
        raise Misfit("not wholly written", found, "all", WRITE_AGAIN)


def _require_external(dataset: h5py.Dataset, folder: Folder) -> None:
    """Raise Misfit unless files of raw values hold all of a dataset: HDF5 would read zeros beyond their ends."""
    missing = dataset.nbytes
    paths = folder.allow([name for name, _, _ in dataset.external], dataset.file)
    for path, (_, offset, size) in zip(paths, dataset.external, strict=True):
        used = min(size, missing)
        if path.stat().st_size < offset + used:
            raise Misfit("a part is too short", f"{path.stat().st_size} bytes in {path}", offset + used, COPY_AGAIN)
        missing -= used
    if missing:
        raise Misfit("parts do not cover it", f"{missing:,} bytes less", "all", WRITE_AGAIN)


def _require_parts(dataset: h5py.Dataset, folder: Folder) -> None:
    """Raise Misfit unless the parts of a virtual dataset hold all of it: HDF5 would read zeros in their place."""
    sources = dataset.virtual_sources() if dataset.id.get_create_plist().get_virtual_count() <= MAX_PARTS else []
    if not sources and dataset.size:
        raise Misfit("parts do not cover it", "none or too many", f"1 to {MAX_PARTS:,} parts", WRITE_AGAIN)
    if not cover([source.vspace for source in sources], dataset.shape):
        raise Misfit("parts do not cover it", f"{len(sources)} parts with gaps", "each value once", WRITE_AGAIN)
    own = Path(dataset.file.filename)
    names = sorted({source.file_name for source in sources} - {"."})
    paths = {".": own} | dict(zip(names, folder.allow(names, dataset.file) if names else [], strict=True))
    for name, group in itertools.groupby(sorted(sources, key=lambda each: each.file_name), lambda each: each.file_name):
        with reading(paths[name]) as file:
            for source in group:
                _require_part(locate(file, source.dset_name, ALONE), source, dataset)


def _require_part(part: Any, source: Any, dataset: h5py.Dataset) -> None:
    """Raise Misfit unless a part has the values that a virtual dataset takes from it, in a type that this one holds."""
    place = f"{source.dset_name} in {source.file_name}"
    if not isinstance(part, h5py.Dataset):
        raise Misfit("a part is missing", f"no dataset {place}", "all parts", COPY_AGAIN)
    if source.src_space.get_select_type() == h5py.h5s.SEL_ALL:
        fits = part.size == source.vspace.get_select_npoints()
    else:
        ends = source.src_space.get_select_bounds()[1]
        fits = part.ndim == len(ends) and all(end < length for end, length in zip(ends, part.shape, strict=True))
    if not fits:
        raise Misfit("a part has another shape", f"{place} of {part.shape}", "that of the selection", COPY_AGAIN)
    if not np.can_cast(part.dtype, dataset.dtype, "safe"):
        raise Misfit("a part is of another type", f"{place} of {part.dtype}", dataset.dtype, WRITE_AGAIN)
    if part.is_virtual or part.external:
        raise Misfit("a part refers to other files again", place, "values", WRITE_AGAIN)
    require_stored(part, ALONE)
    require_written(part)


ALONE = Folder()
"""For a file that may refer to nothing outside it."""
