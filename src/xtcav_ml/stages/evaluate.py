"""evaluate: the trained network on test.h5 -> metrics.json, tables for DVC's plots, and pictures."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml import atomic, backend, metrics, models, plots
from xtcav_ml.batches import Batches
from xtcav_ml.errors import UserError
from xtcav_ml.geometry import CLASSES, NUMBERS
from xtcav_ml.h5io.prepared import PreparedFile
from xtcav_ml.progress import console

BATCH = 64
FRAMES_PER_CLASS = 6


@dataclass(frozen=True)
class Evaluation:
    """What was found and written."""

    metrics: dict[str, Any]
    history: list[dict[str, float]]
    pictures: list[Path]


def run(threads: int, data: Path, model_path: Path, history_path: Path, out: Path) -> Evaluation:
    """Evaluate the network on `data`/test.h5 and write `out`/metrics.json, tables (CSV) and plots (PNG).

    Raises UserError if a file is missing.
    """
    for path in (model_path, history_path):
        if not path.is_file():
            raise UserError(f"{path}: must be there, it is what train makes; run `make repro`")
    backend.configure(seed=0, threads=threads)
    history = [json.loads(line) for line in history_path.read_text().splitlines()]
    with PreparedFile(data / "test.h5") as test:
        model, _ = models.load(model_path)
        said = model.predict(Batches(test, BATCH), verbose=0)
        best = metrics.best_epoch(history)
        values: dict[str, Any] = {"best_epoch": best, "shots": test.shots}
        pictures = [out / "plots" / "learning_curves.png"]
        plots.learning_curves(pictures[0], history, best)
        if test.classes:
            found = metrics.classification(test.labels, said[CLASSES])
            values |= _plain(found, test.classes) | {"validation_accuracy": history[best - 1]["val_accuracy"]}
            pictures += _draw_classes(found, test, said[CLASSES], out / "plots")
            console().print(
                f"evaluate: {found.shots} test shots, accuracy {found.accuracy:.1%} "
                f"({found.accuracy_low:.1%} to {found.accuracy_high:.1%}) -> {out}"
            )
        numbers = {name: (test.targets[:, i], said[NUMBERS][:, i]) for i, name in enumerate(test.meaning.regression)}
        if numbers:
            errors = {name: metrics.regression(*pair) for name, pair in numbers.items()}
            values["regression"] = _json({name: asdict(error) for name, error in errors.items()})
            pictures.append(out / "plots" / "regression.png")
            plots.regression(pictures[-1], numbers)
            for name, error in errors.items():
                console().print(
                    f"evaluate: {name}: r.m.s. error {error.rms_error:.3g} of {error.shots} test shots, {error.spread:.3g} if "
                    f"its mean is always said; bias {error.mean_error:.2g}"
                )
        _write_table(out / "learning_curves.csv", list(history[0]), [list(row.values()) for row in history])
        _write_predictions(out / "predictions.csv", test, said)
        atomic.write_json(out / "metrics.json", values)
    return Evaluation(values, history, pictures)


def _draw_classes(
    found: metrics.Classification, test: PreparedFile, probabilities: NDArray[np.float32], folder: Path
) -> list[Path]:
    """Draw the confusion matrix and test frames with what the network says of them."""
    pictures = [folder / "confusion_matrix.png", folder / "frames.png"]
    title = f"{found.shots} test shots, accuracy {found.accuracy:.1%}"
    plots.confusion_matrix(pictures[0], found.confusion, test.classes, title)
    title = f"test frames by {test.meaning.label}, as the network sees them"
    plots.frame_sheet(pictures[1], _sample(test, probabilities), title)
    return pictures


def _plain(found: metrics.Classification, classes: Sequence[str]) -> dict[str, Any]:
    """The numbers for JSON; what could not be measured (NaN) is null."""
    values = {name: value for name, value in asdict(found).items() if not isinstance(value, np.ndarray)}
    per_class = {
        label: {"precision": found.precision[i], "recall": found.recall[i], "shots": int(found.confusion[i].sum())}
        for i, label in enumerate(classes)
    }
    return _json(values | {"classes": per_class, "confusion": found.confusion.tolist()})


def _json(tree: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(tree), parse_constant=lambda _: None)
    return plain


def _sample(
    test: PreparedFile, probabilities: NDArray[np.float32]
) -> list[tuple[str, list[tuple[NDArray[np.generic], str]]]]:
    """The first frames of each class, captioned with what the network says."""
    rows = []
    for value, label in enumerate(test.classes):
        members = np.flatnonzero(test.labels == value)[:FRAMES_PER_CLASS]
        captions = [f"{test.classes[p.argmax()]} {p.max():.0%}" for p in probabilities[members]]
        rows.append((label, list(zip(test.images(members), captions, strict=True))))
    return rows


def _write_predictions(path: Path, test: PreparedFile, said: Mapping[str, NDArray[np.float32]]) -> None:
    """Write a row a shot: which it is, the truth and what the network says."""
    columns: dict[str, Iterable[object]] = {name: test.column(name) for name in ("run", "run.index")}
    if test.classes:
        columns["actual"] = [test.classes[label] for label in test.labels]
        columns["predicted"] = [test.classes[label] for label in said[CLASSES].argmax(axis=1)]
        for i, label in enumerate(test.classes):
            columns[f"probability of {label}"] = [f"{value:.6f}" for value in said[CLASSES][:, i]]
    for i, name in enumerate(test.meaning.regression):
        columns[name] = [f"{value:.6g}" for value in test.targets[:, i]]
        columns[f"predicted {name}"] = [f"{value:.6g}" for value in said[NUMBERS][:, i]]
    _write_table(path, list(columns), list(zip(*columns.values(), strict=True)))


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with atomic.replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
