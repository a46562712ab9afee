"""A `.keras` file with two entries of ours: its learning specification, and the dark frame. No Keras is needed here.

A model file may come from anywhere. It is a zip of a few entries, none packed, and sealed (`system/seal`); nothing in it is
allocated by a size that it only declares.
"""

import contextlib
import io
import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xtcav_ml.data.hdf5 import UNREADABLE
from xtcav_ml.science.images import Dark
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system import atomic, seal
from xtcav_ml.system.errors import DISK_FULL, UserError, reason

FIXED_DATE = (1980, 1, 1, 0, 0, 0)  # of every entry, the first that a zip can hold: equal models are equal bytes

SPEC_ENTRY, DARK_ENTRY = "xtcav.json", "xtcav_dark.npy"
"""Our entries of a model file: its specification, and the dark frame (mean and noise, rows, columns)."""

CONFIG_ENTRY, WEIGHTS_ENTRY = "config.json", "model.weights.h5"
ENTRIES = {CONFIG_ENTRY, "metadata.json", WEIGHTS_ENTRY, SPEC_ENTRY, DARK_ENTRY}
"""All entries: Keras' and ours."""

MOST_TEXT = 2**20  # bytes of a specification or a configuration: the largest network of params.yaml takes a third of it
END, ZIP64 = b"PK\5\6", b"PK\6\7"
"""Signatures of the record at the end of a zip, and of the one before it that has other numbers for large ones."""

MOST_NODES = 10_000  # groups and datasets of weights


def write_model_file(parts: dict[str, bytes], spec: LearningSpec, path: Path) -> None:
    """Write the `parts` of Keras' file, by name, and the model's specification, which Keras ignores: whole or not at all."""
    version = json.loads(parts["metadata.json"])["keras_version"]
    parts = {**parts, "metadata.json": json.dumps({"keras_version": version}).encode()}  # without the time of saving
    parts[SPEC_ENTRY] = spec.to_json().encode()
    dark = spec.preprocessing.dark
    if dark is not None:
        parts[DARK_ENTRY] = _npy_header(dark.mean.shape) + np.stack([dark.mean, dark.noise]).astype("<f4").tobytes()
    with atomic.replacing(path) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as target:
            target.comment = seal.ROOM
            for name in sorted(parts):
                target.writestr(zipfile.ZipInfo(name, FIXED_DATE), parts[name])
        seal.seal(temporary)


def read_model_file(path: Path, *, sealed: bool = True) -> tuple[dict[str, bytes], LearningSpec]:
    """Return the parts of a model file by name, and its specification.

    Raises UserError if it cannot be read or `write_model_file` did not write it. Without `sealed`, for a file whose digest
    stands elsewhere, the end need not be that of this version.
    """
    with refusing_others(path):
        parts = _parts(path.read_bytes())
    if sealed:
        seal.require_sealed(path, "run `make repro`")
    with refusing_others(path):
        spec = LearningSpec.from_json(parts[SPEC_ENTRY], _dark(parts))
        return parts, spec


def read_spec(path: Path, *, sealed: bool = True) -> LearningSpec:
    """Return the specification of the model in a file. Raises UserError as `read_model_file`."""
    return read_model_file(path, sealed=sealed)[1]


def _parts(content: bytes) -> dict[str, bytes]:
    """Return the entries of a zip. Raises ValueError if there are others than ENTRIES, or one is packed."""
    end = content.rfind(END, max(len(content) - len(seal.ROOM) - 22, 0))
    count = int.from_bytes(content[end + 10 : end + 12], "little")
    if end < 0 or count > len(ENTRIES) or content[max(end - 20, 0) :].startswith(ZIP64):
        raise ValueError(f"a zip of {count} entries" if end >= 0 else "no zip")
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        names = file.namelist()
        if SPEC_ENTRY not in names:
            raise ValueError(f"no {SPEC_ENTRY} in it")
        for entry in file.infolist():
            if entry.filename not in ENTRIES or names.count(entry.filename) > 1:
                raise ValueError(f"the entry {entry.filename!r}")
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > len(content):
                raise ValueError(f"{entry.filename} packed")
            if entry.filename.endswith(".json") and entry.file_size > MOST_TEXT:
                raise ValueError(f"{entry.filename} of {entry.file_size:,} bytes")
        return {name: file.read(name) for name in names}


def _npy_header(shape: tuple[int, ...]) -> bytes:
    """Return what numpy writes before mean and noise of a dark frame of this shape."""
    header = io.BytesIO()
    about = {"descr": "<f4", "fortran_order": False, "shape": (2, *shape)}
    np.lib.format.write_array_header_1_0(header, about)
    return header.getvalue()


def _dark(parts: dict[str, bytes]) -> Dark | None:
    """Return the dark frame, if there is one. Raises ValueError if it has not the shape of the raw frames."""
    if DARK_ENTRY not in parts:
        return None
    rows, columns = json.loads(parts[SPEC_ENTRY])["raw_shape"]
    header = _npy_header((rows, columns))
    if not parts[DARK_ENTRY].startswith(header) or len(parts[DARK_ENTRY]) != len(header) + 8 * rows * columns:
        raise ValueError(f"{DARK_ENTRY} of another shape than raw_shape")
    mean, noise = np.frombuffer(parts[DARK_ENTRY], "<f4", offset=len(header)).reshape(2, rows, columns)
    return Dark(mean, noise)


def weight_count(content: bytes) -> int:
    """Return the number of values in Keras' HDF5 file of weights.

    Raises ValueError if one is not finite, or not in the file in one piece, or a link leads elsewhere.
    """
    total, waiting = 0, []
    seen: set[int] = set()
    with h5py.File(io.BytesIO(content), "r") as file:
        waiting.append(file["/"])
        while waiting:
            group = waiting.pop()
            for name in group:
                node = group[name] if isinstance(group.get(name, getlink=True), h5py.HardLink) else None
                address = 0 if node is None else int(h5py.h5o.get_info(node.id).addr)
                if node is None or address in seen or len(seen) > MOST_NODES:
                    raise ValueError(f"weights with the link {name!r}")
                seen.add(address)
                if isinstance(node, h5py.Group):
                    waiting.append(node)
                else:
                    total += _values(node, len(content)).size
    return total


def layer_weights(content: bytes) -> dict[str, list[NDArray[Any]]]:
    """Return the values of each layer by its name, empty where it has none, from a file that `weight_count` let pass.

    Raises KeyError if a layer has no name in it: older versions of Keras wrote none.
    """
    with h5py.File(io.BytesIO(content), "r") as file:
        groups = [layer["vars"] for layer in file["layers"].values()]
        return {str(group.attrs["name"]): [group[str(i)][()] for i in range(len(group))] for group in groups}


def _values(dataset: h5py.Dataset, most: int) -> NDArray[np.generic]:
    """Return the values of a dataset of at most this size in bytes. Raises ValueError as `weight_count`."""
    layout = dataset.id.get_create_plist().get_layout()
    size = math.prod(dataset.shape) * dataset.dtype.itemsize
    whole = layout in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT) and not dataset.external
    if not whole or size > most or dataset.id.get_storage_size() != size or dataset.dtype.kind not in "biuf":
        raise ValueError(f"weights {dataset.name} of {dataset.dtype} {dataset.shape}, not in one piece")
    values: NDArray[np.generic] = dataset[()]
    if not np.isfinite(values).all():
        raise ValueError(f"weights {dataset.name} that are not finite")
    return np.asarray(values)


@contextlib.contextmanager
def refusing_others(path: Path) -> Iterator[None]:
    """Raise the errors of reading a file that is damaged, or no model of ours, as a UserError."""
    try:
        yield
    except (*UNREADABLE, zipfile.BadZipFile, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:  # Keras unpacks the weights to a file of its own
            raise
        raise UserError(
            f"{path}: not a model file of `xtcav train` (found {reason(error)!r}, expected a model with its preprocessing). "
            "Fix: run `make repro`"
        ) from None
