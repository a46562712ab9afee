"""evaluate: the trained network on test.h5 -> metrics.json, tables for DVC's plots, and pictures."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml import atomic, backend, metrics, models, plots
from xtcav_ml.batches import Batches
from xtcav_ml.errors import UserError
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
        probabilities = models.load(model_path).predict(Batches(test, BATCH), verbose=0)
        found = metrics.classification(test.labels, probabilities)
        pictures = [out / "plots" / f"{name}.png" for name in ("confusion_matrix", "learning_curves", "frames")]
        title = f"{found.shots} test shots, accuracy {found.accuracy:.1%}"
        plots.confusion_matrix(pictures[0], found.confusion, test.classes, title)
        best = metrics.best_epoch(history)
        plots.learning_curves(pictures[1], history, best)
        plots.frame_sheet(
            pictures[2], _sample(test, probabilities), f"test frames by {test.meaning.label}, as the network sees them"
        )
        _write_table(out / "learning_curves.csv", list(history[0]), [list(row.values()) for row in history])
        _write_predictions(out / "predictions.csv", test, probabilities)
        values = _plain(found, test.classes) | {
            "best_epoch": best,
            "validation_accuracy": history[best - 1]["val_accuracy"],
        }
        atomic.write_json(out / "metrics.json", values)
    console().print(
        f"evaluate: {found.shots} test shots, accuracy {found.accuracy:.1%} "
        f"({found.accuracy_low:.1%} to {found.accuracy_high:.1%}) -> {out}"
    )
    return Evaluation(values, history, pictures)


def _plain(found: metrics.Classification, classes: Sequence[str]) -> dict[str, Any]:
    """The numbers for JSON; what could not be measured (NaN) is null."""
    values = {name: value for name, value in asdict(found).items() if not isinstance(value, np.ndarray)}
    per_class = {
        label: {"precision": found.precision[i], "recall": found.recall[i], "shots": int(found.confusion[i].sum())}
        for i, label in enumerate(classes)
    }
    tree = values | {"classes": per_class, "confusion": found.confusion.tolist()}
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


def _write_predictions(path: Path, test: PreparedFile, probabilities: NDArray[np.float32]) -> None:
    keys = ("run", "run.index")
    columns = [test.column(name) for name in keys]
    _write_table(
        path,
        [*keys, "actual", "predicted", *(f"probability of {label}" for label in test.classes)],
        (
            [
                *(column[i] for column in columns),
                test.classes[test.labels[i]],
                test.classes[row.argmax()],
                *(f"{p:.6f}" for p in row),
            ]
            for i, row in enumerate(probabilities)
        ),
    )


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with atomic.replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
