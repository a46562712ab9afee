"""predict: a trained model on raw files, labelled or not -> a file of predictions for each, row by row."""

import functools
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.layout import NOTES, Layout
from xtcav_ml.config.schema import IMAGE, SCHEMA, Dataset
from xtcav_ml.data import raw_files
from xtcav_ml.data.apart import Apart
from xtcav_ml.data.hdf5 import attributes_of, create_rows, creating, file_state, require_unchanged
from xtcav_ml.data.listing import PREDICTED_BY, Listing, list_files, predictions
from xtcav_ml.data.prepared import SHOT_COLUMNS
from xtcav_ml.data.raw_dataset import Folder
from xtcav_ml.data.raw_file import Piece, file_problems, find_piece, read_columns
from xtcav_ml.data.raw_frames import NoFrames, RawFrames
from xtcav_ml.learning.predictor import FRAMES_A_CALL, Prediction, Predictor
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system import interrupts
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console, counting

SUFFIX = ".predictions.h5"
KEYS = dict.fromkeys(SHOT_COLUMNS, raw_files.LABEL)  # written with the predictions where a file has them; -1 for none
SOURCE = "source"  # attribute that names the raw file


class Looked(NamedTuple):
    """What was read of a raw file before its turn: nothing if it has problems."""

    problems: list[str]  # a line each
    columns: Mapping[str, NDArray[Any]] = {}  # the model's features, and the keys that can be read
    unread: Sequence[str] = ()  # a line for each key that cannot
    shots: int = 0
    piece: Piece | None = None  # where the frames are, if the model has them


def predict_files(
    model_path: Path,
    inputs: Sequence[Path],
    out: Path,
    threads: int,
    layout: Layout = NOTES,
    *,
    skip_bad: bool = False,
    sealed: bool = True,
) -> list[Path]:
    """Write `out`/NAME.predictions.h5 for each raw file of `inputs` (files and folders), and return their paths.

    Checks all files before it reads one, and refuses a file that changes before its turn, or whose predictions would replace
    those of another. A file needs the model's frames and features, where `layout` has them; a bad one is left out with a line
    if `skip_bad`. A shot whose frame was never written, or holds what is no number, gets no prediction. Skips a file that has
    predictions by this model already, so that an interrupted command resumes. `sealed` as for `Predictor`. Raises UserError
    for a fault of a file.
    """
    if not model_path.is_file():
        raise UserError(f"{model_path}: missing (expected a model). Fix: run `make repro`, or name another")
    state = file_state(model_path)
    digest = hashlib.sha256(model_path.read_bytes()).hexdigest()
    predictor = Predictor(model_path, threads=threads, sealed=sealed)
    require_unchanged(model_path, state)
    targets, folders, states, looked = _checked(inputs, out, predictor.spec, layout, skip_bad)
    written = {target: attributes_of(target) for target in targets.values()}
    _require_own(targets, written)
    attributes = {
        file: _attributes(predictor.spec, digest, file, states[file], target) for file, target in targets.items()
    }
    waiting = [file for file, target in targets.items() if not attributes[file].items() <= written[target].items()]
    screen = console()
    screen.print(
        f"predict: {len(targets)} files with {model_path}, "
        f"{len(targets) - len(waiting)} of them skipped as done -> {out}; {predictor.device}"
    )
    with counting("shots", sum(looked[file].shots for file in waiting)) as advance:
        for file in waiting:
            columns = looked[file].columns
            with _frames(file, states[file], folders[file], looked[file]) as frames:
                prediction, lacking = _predict(predictor, frames, columns, advance)
            _write(targets[file], predictor.spec, prediction, columns, attributes[file])
            screen.print(f"  {file.name}: {_totals(prediction, predictor.spec, lacking)}")
    for line in raw_files.grouped({file: looked[file].unread for file in waiting}):
        screen.print(f"predict: predictions lack a key: {line}")
    return list(targets.values())


def _attributes(spec: LearningSpec, digest: str, file: Path, state: tuple[int, ...], target: Path) -> dict[str, str]:
    return {
        PREDICTED_BY: digest,
        "source_state": f"{state[1]} bytes, changed at {state[2]} ns",
        SOURCE: _source(target, file),
        **({"coverage": f"{spec.statements.coverage:g}"} if spec.statements else {}),
        "label": spec.label or "",
        "classes": json.dumps(spec.classes),
    }


def _checked(
    inputs: Sequence[Path], out: Path, spec: LearningSpec, layout: Layout, skip_bad: bool
) -> tuple[dict[Path, Path], dict[Path, Folder], dict[Path, tuple[int, ...]], dict[Path, Looked]]:
    """Return for each raw file of `inputs` its target below `out`, its folder, its `file_state` at first, and what it has."""
    targets: dict[Path, Path] = {}
    folders: dict[Path, Folder] = {}
    states: dict[Path, tuple[int, ...]] = {}
    looked: dict[Path, Looked] = {}
    for path in inputs:
        listing = _listing(path)
        folder = Folder(listing.folder, layout)
        states |= {file: file_state(file) for file in listing.files}
        looking = functools.partial(_looked, spec=spec, folder=folder)
        with Apart(looking, lambda line: Looked([line]), folder.states) as look:
            looked |= dict(zip(listing.files, look.each(listing.files), strict=True))
        problems = {file: looked[file].problems for file in listing.files}
        listing = raw_files.without_parts(listing, folder, problems) if path.is_dir() else listing
        if listing.note:
            console().print(f"predict: {path}: {listing.note}")
        targets |= {
            file: out / file.relative_to(listing.folder).with_name(file.stem + SUFFIX) for file in listing.files
        }
        folders |= dict.fromkeys(listing.files, folder)
    bad = {file: looked[file].problems for file in targets if looked[file].problems}
    if not skip_bad or len(bad) == len(targets):
        raw_files.refuse(bad)
    for line in raw_files.grouped(bad):
        console().print(f"predict: skipped (data.bad_files: skip): {line}")
    targets = {file: target for file, target in targets.items() if file not in bad}
    for file in targets:
        require_unchanged(file, states[file])
    return targets, folders, states, looked


def _listing(path: Path) -> Listing:
    """Return a file alone, or the files of a folder but predictions."""
    if not path.is_dir():
        return Listing(path.parent, (path,))
    listing = list_files(path)
    return listing.without(predictions(listing.files))


def _source(target: Path, file: Path) -> str:
    """Return the relative path from the predictions to their raw file, which stays the same where both are moved together."""
    return os.path.relpath(file.resolve(), target.parent.resolve())


def _require_own(targets: Mapping[Path, Path], written: Mapping[Path, Mapping[str, Any]]) -> None:
    """Raise UserError if two files would have one target, or a target holds the predictions of another file.

    `written` has the attributes of each target.
    """
    for target, count in Counter(targets.values()).items():
        if count > 1:
            raise UserError(
                f"{target}: not of one raw file (found {count} of that name, expected 1). Fix: predict them one by one, each "
                "with an --out of its own"
            )
    for file, target in targets.items():
        if target.exists() and not written[target]:
            raise UserError(
                f"{target}: damaged, or of another version (found no checksum, expected predictions of {file}). Fix: remove "
                "it, or give another --out"
            )
        source = written[target].get(SOURCE, _source(target, file))
        if source != _source(target, file):
            raise UserError(
                f"{target}: holds other predictions (found those of {source}, relative to it, expected those of {file}). Fix: "
                "give each an --out of its own, or remove it"
            )


def _looked(file: Path, spec: LearningSpec, folder: Folder) -> Looked:
    """Return the problems of a raw file, and if there is none its columns and where its frames are."""
    frames = replace(SCHEMA[IMAGE], row_shape=spec.preprocessing.raw_shape)
    problems = file_problems(file, _features(spec) | ({IMAGE: frames} if spec.has_frames else {}), folder)
    if problems:
        return Looked(problems)
    try:
        columns, unread = _columns(file, spec, folder)
        piece = find_piece(file, folder) if spec.has_frames else None
    except UserError as error:
        return Looked([str(error)])
    return Looked([], columns, unread, len(columns[spec.features[0]]) if piece is None else piece.shape[0], piece)


def _frames(file: Path, state: tuple[int, ...], folder: Folder, looked: Looked) -> RawFrames | NoFrames:
    return NoFrames(looked.shots) if looked.piece is None else RawFrames(file, state, folder, looked.piece)


def _features(spec: LearningSpec) -> dict[str, Dataset]:
    return dict.fromkeys(spec.features, raw_files.NUMBER)


def _columns(file: Path, spec: LearningSpec, folder: Folder) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return the model's features, and the keys that the file has, with a line for each key that cannot be read."""
    columns, problems = read_columns(file, _features(spec), folder=folder), []
    rows = {} if spec.has_frames else _features(spec)  # whose number of rows is that of shots
    for name, kind in KEYS.items():
        try:
            columns |= read_columns(file, rows, {name: kind}, folder)
        except UserError as error:
            problems.append(str(error))
    return columns, problems


def _predict(
    predictor: Predictor,
    frames: RawFrames | NoFrames,
    columns: Mapping[str, NDArray[Any]],
    advance: Callable[[int], None],
) -> tuple[Prediction, Counter[str]]:
    """Return the predictions of all shots of a file, and for lack of what shots have none; a few frames in memory at a time.

    Raises UserError if it changes meanwhile, KeyboardInterrupt after a request to stop.
    """
    spec, shots = predictor.spec, frames.shape[0]
    features, probabilities, numbers = (
        np.empty((shots, len(names)), np.float32) for names in (spec.features, spec.classes, spec.regression)
    )
    for i, name in enumerate(spec.features):
        features[:, i] = columns[name]
    lacking = Counter({"a feature": int((~np.isfinite(features).all(axis=1)).sum())})
    for rows, (some, lost) in _blocks(frames, shots):
        interrupts.require_none()
        block = predictor.predict(some, features[rows])
        probabilities[rows], numbers[rows] = block.probabilities, block.numbers
        probabilities[rows[lost]] = numbers[rows[lost]] = np.nan
        lacking["a frame"] += int(lost.sum())
        advance(len(rows))
    return Prediction(probabilities, numbers), +lacking


def _blocks(
    frames: RawFrames | NoFrames, shots: int
) -> Iterator[tuple[NDArray[np.int64], tuple[NDArray[Any], NDArray[np.bool_]]]]:
    """Yield rows of a file and what `read_usable` has there; a thread reads the next ones meanwhile."""
    with ThreadPoolExecutor(1) as reader:
        blocks = [np.arange(first, min(first + FRAMES_A_CALL, shots)) for first in range(0, shots, FRAMES_A_CALL)]
        coming = [reader.submit(frames.read_usable, rows) for rows in blocks[:1]]
        for number, rows in enumerate(blocks, start=1):
            coming += [reader.submit(frames.read_usable, following) for following in blocks[number : number + 1]]
            yield rows, coming.pop(0).result()


def _write(
    target: Path,
    spec: LearningSpec,
    prediction: Prediction,
    columns: Mapping[str, NDArray[np.generic]],
    attributes: Mapping[str, str],
) -> None:
    written = {name: columns[name] for name in SHOT_COLUMNS if name in columns}
    if spec.classes:
        written |= {"probability": prediction.probabilities, "predicted": prediction.predicted}
    written |= {f"predicted.{name}": prediction.numbers[:, i] for i, name in enumerate(spec.regression)}
    if (said := spec.statements) is not None:
        written |= {"set": said.sets(prediction.probabilities).astype(np.int8)} if spec.classes else {}
        for end, numbers in zip(("low", "high"), said.ends(prediction.numbers), strict=True):
            written |= {f"predicted.{name}.{end}": numbers[:, i] for i, name in enumerate(spec.regression)}
    with creating(target, sealed=True) as file:
        for name, values in written.items():
            create_rows(file, name, len(values), values.shape[1:], values.dtype)[:] = values
        file.attrs.update(attributes)


def _totals(prediction: Prediction, spec: LearningSpec, lacking: Mapping[str, int]) -> str:
    """Return the number of shots of each class, the mean of each number, and how many have neither for lack of what."""
    words = []
    if spec.classes:
        words = [f"{name} {(prediction.predicted == number).sum():,}" for number, name in enumerate(spec.classes)]
    for i, name in enumerate(spec.regression):
        finite = prediction.numbers[:, i][np.isfinite(prediction.numbers[:, i])]
        words.append(f"{name} {finite.mean():.4g} on average" if len(finite) else f"{name} -")
    return ", ".join([*words, *(f"none for lack of {what} {count:,}" for what, count in lacking.items())])
