"""A `.keras` file with two entries of ours: its learning specification, and the dark frame. No Keras is needed here."""

import contextlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from xtcav_ml.science.images import Dark
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import DISK_FULL, UserError, reason

FIXED_DATE = (1980, 1, 1, 0, 0, 0)  # of every entry, the first that a zip can hold: equal models are equal bytes

SPEC_ENTRY, DARK_ENTRY = "xtcav.json", "xtcav_dark.npy"
"""Our entries of a model file: its specification, and the dark frame (mean and noise, rows, columns)."""


def write_model_file(parts: dict[str, bytes], spec: LearningSpec, path: Path) -> None:
    """Write the `parts` of Keras' file, by name, and the model's specification, which Keras ignores: whole or not at all."""
    version = json.loads(parts["metadata.json"])["keras_version"]
    parts = {**parts, "metadata.json": json.dumps({"keras_version": version}).encode()}  # without the time of saving
    parts[SPEC_ENTRY] = spec.to_json().encode()
    dark = spec.preprocessing.dark
    if dark is not None:
        content = io.BytesIO()
        np.save(content, np.stack([dark.mean, dark.noise]), allow_pickle=False)
        parts[DARK_ENTRY] = content.getvalue()
    with atomic.replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as target:
        for name in sorted(parts):
            target.writestr(zipfile.ZipInfo(name, FIXED_DATE), parts[name])


def read_spec(path: Path) -> LearningSpec:
    """Return the specification of the model in a file. Raises UserError if it cannot be read or `write` did not write it."""
    with refusing_others(path), zipfile.ZipFile(path) as file:
        if SPEC_ENTRY not in file.namelist():
            raise ValueError(f"no {SPEC_ENTRY} in it")
        dark = None
        if DARK_ENTRY in file.namelist():
            mean, noise = np.load(io.BytesIO(file.read(DARK_ENTRY)), allow_pickle=False)
            dark = Dark(mean, noise)
        return LearningSpec.from_json(file.read(SPEC_ENTRY), dark)


@contextlib.contextmanager
def refusing_others(path: Path) -> Iterator[None]:
    """Raise the errors of reading a file that is damaged, or no model of ours, as a UserError."""
    try:
        yield
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError) as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:  # Keras unpacks the weights to a file of its own
            raise
        raise UserError(
            f"{path}: not a model file of `xtcav train` (found {reason(error)!r}, expected a model with its preprocessing). "
            "Fix: run `make repro`"
        ) from None
