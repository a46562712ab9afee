"""predict: a trained model on raw shot files, labelled or not -> a file of predictions for each, row by row."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.schema import IMAGE, SCHEMA, Dataset
from xtcav_ml.data import raw_files
from xtcav_ml.data.hdf5 import attributes_of, create_rows, creating, require_unchanged, state
from xtcav_ml.data.prepared import SHOT_COLUMNS
from xtcav_ml.data.raw_file import RawFrames, file_problems, read_columns
from xtcav_ml.learning import backend
from xtcav_ml.learning.predictor import FRAMES_A_CALL, NO_CLASS, Prediction, Predictor
from xtcav_ml.science.spec import Meaning
from xtcav_ml.system import interrupts
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console, counting

SUFFIX = ".predictions.h5"
SOURCE = "source"
"""Attribute that names the shot file."""


def run(model_path: Path, inputs: Sequence[Path], out: Path, threads: int) -> list[Path]:
    """Write `out`/NAME.predictions.h5 for each shot file of `inputs` (files and folders), and return their paths.

    All files are checked before one is read, and a file that is not the same any more when its turn comes is refused. One
    whose predictions by this model are there already is passed over, so that a run which was stopped goes on where it
    was; one that would take the place of another file's is refused. Raises UserError for what is wrong with a file.
    """
    if not model_path.is_file():
        raise UserError(f"{model_path}: must be a model, got no such file; run `make repro`, or name another")
    listed = [
        raw_files.list_files(path) if path.is_dir() else raw_files.Listing(path.parent, (path,)) for path in inputs
    ]
    files = [file for listing in listed for file in listing.files]
    targets = {file: out / _name(file, listing.folder) for listing in listed for file in listing.files}
    twice = [name for name, count in Counter(targets.values()).items() if count > 1]
    if twice:
        raise UserError(
            f"{twice[0]}: must be the output of one shot file, got two of that name; predict them one by one, each with an "
            "--out of its own"
        )
    for file, target in targets.items():
        _require_own(target, file)
    device = backend.configure(seed=0, threads=threads)
    predictor = Predictor(model_path)
    states = {file: state(file) for file in files}
    raw_files.refuse([problem for file in files for problem in _problems(file, predictor.meaning)])
    for file in files:
        require_unchanged(file, states[file])
    digest = hashlib.sha256(model_path.read_bytes()).hexdigest()
    identities = {file: _identity(digest, states[file]) for file in files}
    waiting = [file for file in files if not _done(targets[file], identities[file])]
    screen = console()
    screen.print(
        f"predict: {len(files)} files with {model_path}, {len(files) - len(waiting)} of them done before -> {out}; {device}"
    )
    total = sum(len(read_columns(file, ["run"])["run"]) for file in waiting)
    with counting("shots", total) as advance:
        for file in waiting:
            found, columns = _predict(predictor, file, states[file], advance)
            _write(
                targets[file],
                predictor.meaning,
                found,
                columns,
                {**identities[file], SOURCE: _source(targets[file], file)},
            )
            screen.print(f"  {file.name}: {_describe(found, predictor.meaning)}")
    return list(targets.values())


def _name(file: Path, folder: Path) -> Path:
    """Return the name of a file's predictions, in the same subfolder as the file."""
    return file.relative_to(folder).with_name(file.stem + SUFFIX)


def _source(target: Path, file: Path) -> str:
    """Return the way from the predictions to their shot file, which stays the same where both are moved together."""
    return os.path.relpath(file.resolve(), target.parent.resolve())


def _require_own(target: Path, file: Path) -> None:
    """Raise UserError if `target` holds the predictions of another file than `file`."""
    of = attributes_of(target).get(SOURCE, _source(target, file))
    if of != _source(target, file):
        raise UserError(
            f"{target}: must be the predictions of {file}, got those of {of} (seen from there); give each an --out of its own, "
            "or remove it"
        )


def _problems(file: Path, meaning: Meaning) -> list[str]:
    frames = replace(SCHEMA[IMAGE], row_shape=meaning.preprocessing.raw_shape)
    features = {name: Dataset("number", (), "feature") for name in meaning.features}
    return file_problems(file, {**features, **{name: SCHEMA[name] for name in SHOT_COLUMNS}, IMAGE: frames}, {})


def _predict(
    predictor: Predictor, file: Path, expected: tuple[int, ...], advance: Callable[[int], None]
) -> tuple[Prediction, dict[str, NDArray[np.generic]]]:
    """Return what the model says of all shots of a file, and its columns; a few frames in memory at a time.

    Raises UserError if it is not in the state `expected` from first to last, KeyboardInterrupt if somebody asked to stop.
    """
    names = predictor.meaning.features
    columns = read_columns(file, (*SHOT_COLUMNS, *names))
    shots = len(columns["run"])
    features = np.empty((shots, len(names)), np.float32)
    for i, name in enumerate(names):
        features[:, i] = columns[name]
    parts = []
    for first, frames in _blocks(file, expected, shots):
        interrupts.require_none()
        part = predictor.predict(frames, features[first : first + len(frames)])
        parts.append(part)
        advance(len(frames))
    meaning = predictor.meaning
    probabilities = np.concatenate([np.empty((0, len(meaning.classes)), np.float32), *(p.probabilities for p in parts)])
    numbers = np.concatenate([np.empty((0, len(meaning.regression)), np.float32), *(p.numbers for p in parts)])
    return Prediction(probabilities, numbers), columns


def _blocks(file: Path, expected: tuple[int, ...], shots: int) -> Iterator[tuple[int, NDArray[np.int16]]]:
    """Yield the frames of a file, and the row of the first; the next ones are read while these are looked at."""
    with RawFrames(file, expected) as frames, ThreadPoolExecutor(1) as reader:
        rows = [np.arange(first, min(first + FRAMES_A_CALL, shots)) for first in range(0, shots, FRAMES_A_CALL)]
        coming = [reader.submit(frames.read, block) for block in rows[:1]]
        for number, block in enumerate(rows):
            coming += [reader.submit(frames.read, following) for following in rows[number + 1 : number + 2]]
            yield int(block[0]), coming.pop(0).result()


def _write(
    target: Path,
    meaning: Meaning,
    found: Prediction,
    columns: dict[str, NDArray[np.generic]],
    attributes: Mapping[str, str],
) -> None:
    written = {name: columns[name] for name in SHOT_COLUMNS}
    if meaning.classes:
        written |= {"probability": found.probabilities, "predicted": found.predicted}
    written |= {f"predicted.{name}": found.numbers[:, i] for i, name in enumerate(meaning.regression)}
    with creating(target) as file:
        for name, values in written.items():
            create_rows(file, name, len(values), values.shape[1:], values.dtype)[:] = values
        for name, value in attributes.items():
            file.attrs[name] = value
        file.attrs["label"] = meaning.label or ""
        file.attrs["classes"] = json.dumps(meaning.classes)


def _identity(digest: str, source: tuple[int, ...]) -> dict[str, str]:
    """Return what tells that predictions are those of this model on a file in this state."""
    _, size, changed = source
    return {raw_files.PREDICTED_BY: digest, "source_state": f"{size} bytes, changed at {changed} ns"}


def _done(target: Path, identity: Mapping[str, str]) -> bool:
    attributes = attributes_of(target)
    return all(attributes.get(name) == value for name, value in identity.items())


def _describe(found: Prediction, meaning: Meaning) -> str:
    parts = []
    if meaning.classes:
        names = {**dict(enumerate(meaning.classes)), NO_CLASS: "none, for want of a feature"}
        counts = {name: int((found.predicted == number).sum()) for number, name in names.items()}
        parts += [f"{name} {count:,}" for name, count in counts.items() if count or name != names[NO_CLASS]]
    for i, name in enumerate(meaning.regression):
        known = found.numbers[:, i][np.isfinite(found.numbers[:, i])]
        parts.append(f"{name} {known.mean():.4g} on average" if len(known) else f"{name} -")
    return ", ".join(parts)
