"""evaluate: the trained network on test.h5 -> metrics.json, tables for DVC's plots, and pictures."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml import figures
from xtcav_ml.config.paths import CURVES, METRICS, PLOTS, PREDICTIONS
from xtcav_ml.data.history import read_history
from xtcav_ml.data.predictions import ACTUAL, PREDICTED, PROBABILITY
from xtcav_ml.data.prepared import SHOT_COLUMNS, PreparedFile
from xtcav_ml.learning import backend, epochs, keras_file, saliency
from xtcav_ml.learning.backend import keras
from xtcav_ml.learning.batches import Batches
from xtcav_ml.learning.layer_plan import CLASS_HEAD, FEATURES_INPUT, FRAME_INPUT, NUMBER_HEAD
from xtcav_ml.science import metrics
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console

PREDICTED_AT_ONCE = 64  # shots that the network predicts in one call
FRAMES_PER_CLASS = 6


Outputs = Mapping[str, NDArray[np.float32]]  # of the network for all test shots, by the name of the head


def evaluate_network(threads: int, data: Path, model_path: Path, history_path: Path, out: Path) -> None:
    """Evaluate the network on `data`/test.h5 and write `out`/metrics.json, tables (CSV) and plots (PNG).

    Raises UserError if a file is missing.
    """
    for path in (model_path, history_path):
        if not path.is_file():
            raise UserError(f"{path}: missing (expected an output of train). Fix: run `make repro`")
    backend.configure(seed=0, threads=threads)
    history = read_history(history_path)
    plots = out / PLOTS.name
    with PreparedFile(data / "test.h5") as test:
        model, spec = keras_file.load_network(model_path)
        if not spec.same_as(test.spec):
            raise UserError(
                f"{model_path}: of other data than {test.path} (found {spec.to_json()} with its dark frame, expected "
                f"{test.spec.to_json()} with that of the file). Fix: run `make repro`"
            )
        outputs = model.predict(Batches(test, PREDICTED_AT_ONCE), verbose=0)
        best = epochs.best(history)
        values: dict[str, Any] = {"best_epoch": best, "shots": test.shots}
        curves = [name for name in figures.curves_of(history) if name in figures.MEASURES]
        figures.write_png(plots / "learning_curves.png", figures.learning_curves(history, best, curves))
        if test.classes:
            values |= _classes(test, outputs[CLASS_HEAD], out) | _ceiling(test)
            values["validation_accuracy"] = history[best - 1]["val_accuracy"]
        if test.spec.regression:
            values["regression"] = _numbers(test, outputs[NUMBER_HEAD], plots)
        _explain(test, model, outputs, plots)
        atomic.write_csv(out / CURVES.name, history)
        _write_predictions(out / PREDICTIONS.name, test, outputs)
        atomic.write_json(out / METRICS.name, values)


def _classes(test: PreparedFile, probabilities: NDArray[np.float32], out: Path) -> dict[str, Any]:
    """Measure the probabilities (N, classes), and draw the results."""
    measured = metrics.classification(test.labels, probabilities)
    calibrated = metrics.calibration(test.labels, probabilities)
    curves = figures.class_curves(test.classes, test.labels, probabilities)
    title = f"{measured.shots} test shots, accuracy {measured.accuracy:.1%}"
    sheet = f"test frames by {test.spec.label}, as the network sees them"
    for name, figure in {
        "confusion_matrix": figures.confusion_matrix(measured.confusion, test.classes, title),
        "calibration": figures.calibration_curve(calibrated),
        "roc_pr": figures.one_against_rest(curves, "each class against the rest, by its probability"),
        "frames": figures.frame_sheet(_sample(test, probabilities), sheet),
    }.items():
        figures.write_png(out / PLOTS.name / f"{name}.png", figure)
    console().print(f"evaluate: {title} ({measured.accuracy_low:.1%} to {measured.accuracy_high:.1%}) -> {out}")
    values = _plain(measured, test.classes)
    for name, roc, pr in curves:
        values["classes"][name] |= _json({"auc": roc.area, "average_precision": pr.average})
    return values | {"expected_calibration_error": calibrated.expected_error, "brier": calibrated.brier}


def _ceiling(test: PreparedFile) -> dict[str, Any]:
    """Return the accuracy that label noise allows, with its 95 % interval; empty if the true labels are not there.

    It is the fraction of the shots whose label is that of noise-free waveforms: the score of a network that sees the
    pulses themselves.
    """
    if test.truth is None:
        return {}
    right = int((test.truth == test.labels).sum())
    low, high = metrics.wilson_interval(right, test.shots)
    console().print(f"evaluate: label noise limits accuracy to {right / test.shots:.1%} ({low:.1%} to {high:.1%})")
    return {"ceiling": right / test.shots, "ceiling_low": low, "ceiling_high": high}


def _numbers(test: PreparedFile, predicted: NDArray[np.float32], folder: Path) -> dict[str, Any]:
    """Measure the predicted numbers (N, V), and draw the results."""
    numbers = {name: (test.targets[:, i], predicted[:, i]) for i, name in enumerate(test.spec.regression)}
    figures.write_png(folder / "regression.png", figures.regression_scatter(numbers))
    errors = {name: metrics.regression(*pair) for name, pair in numbers.items()}
    for name, error in errors.items():
        console().print(
            f"evaluate: {name}: r.m.s. error {error.rms_error:.3g} of {error.shots} test shots, {error.spread:.3g} of always "
            f"predicting the mean; bias {error.mean_error:.2g}"
        )
    return _json({name: asdict(error) for name, error in errors.items()})


def _explain(test: PreparedFile, model: keras.Model, outputs: Outputs, folder: Path) -> None:
    """Draw the worst mistakes, and where the network looks in frames that it predicts rightly."""
    wrong: list[tuple[str, list[figures.Picture]]] = []
    overlays: list[tuple[str, list[figures.Overlay]]] = []
    if test.classes:
        predicted, sure = outputs[CLASS_HEAD].argmax(axis=1), outputs[CLASS_HEAD].max(axis=1)
        captions = [f"predicted {test.classes[i]} {p:.1%}" for i, p in zip(predicted, sure, strict=True)]
    for value, name in enumerate(test.classes):
        members = np.flatnonzero((test.labels == value) & (predicted != value))
        worst = members[np.argsort(-sure[members], kind="stable")]
        wrong.append((name, _pictures(test, worst[:FRAMES_PER_CLASS], captions)))
        right = np.flatnonzero((test.labels == value) & (predicted == value))
        overlays.append((name, _overlays(test, model, right[:FRAMES_PER_CLASS], captions, CLASS_HEAD, value)))
    for value, name in enumerate(test.spec.regression):
        truth, predicted = test.targets[:, value], outputs[NUMBER_HEAD][:, value]
        captions = [f"predicted {p:.4g}, measured {t:.4g}" for t, p in zip(truth, predicted, strict=True)]
        error = np.abs(predicted - truth)
        by_error = np.argsort(error, kind="stable")[: np.isfinite(truth).sum()]  # NaN is last
        wrong.append((name, _pictures(test, by_error[::-1][:FRAMES_PER_CLASS], captions)))
        overlays.append((name, _overlays(test, model, by_error[:FRAMES_PER_CLASS], captions, NUMBER_HEAD, value)))
    title = "worst mistakes: the most confident of each label; for regression, the largest errors"
    figures.write_png(folder / "mistakes.png", figures.frame_sheet(wrong, title))
    title = "where the network looks when it is right: what speaks for the label, or for a higher number"
    figures.write_png(folder / "saliency.png", figures.overlay_sheet(overlays, title))


def _pictures(test: PreparedFile, rows: NDArray[np.int64], captions: Sequence[str]) -> list[figures.Picture]:
    """Return frames of the shots `rows`, each with its caption (of N) and the numbers of run and shot."""
    shots = zip(test.column("run")[rows], test.column("run.index")[rows], strict=True)
    below = [f"{captions[row]}\nrun {run}, shot {index}" for row, (run, index) in zip(rows, shots, strict=True)]
    return list(zip(test.images(rows), below, strict=True))


def _overlays(
    test: PreparedFile, model: keras.Model, rows: NDArray[np.int64], captions: Sequence[str], head: str, unit: int
) -> list[figures.Overlay]:
    """Return the pictures of `_pictures`, each with the map of the evidence for unit `unit` of layer `head`."""
    if not len(rows):
        return []
    inputs: dict[str, NDArray[Any]] = {FRAME_INPUT: test.stored(rows)[..., np.newaxis]}
    if test.spec.features:
        inputs[FEATURES_INPUT] = test.features[rows]
    maps = saliency.maps(model, inputs, head, np.full(len(rows), unit))
    return [(frame, seen, text) for (frame, text), seen in zip(_pictures(test, rows, captions), maps, strict=True)]


def _plain(measured: metrics.Classification, classes: Sequence[str]) -> dict[str, Any]:
    values = {name: value for name, value in asdict(measured).items() if not isinstance(value, np.ndarray)}
    columns = zip(classes, measured.precision, measured.recall, measured.confusion.sum(axis=1), strict=True)
    per_class = {label: {"precision": p, "recall": r, "shots": int(shots)} for label, p, r, shots in columns}
    return _json(values | {"classes": per_class, "confusion": measured.confusion.tolist()})


def _json(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers for JSON; NaN, of what could not be measured, is null."""
    plain: dict[str, Any] = json.loads(json.dumps(tree), parse_constant=lambda _: None)
    return plain


def _sample(test: PreparedFile, probabilities: NDArray[np.float32]) -> list[tuple[str, list[figures.Picture]]]:
    """Return the first frames of each class, with the prediction as caption."""
    rows = []
    for value, label in enumerate(test.classes):
        members = np.flatnonzero(test.labels == value)[:FRAMES_PER_CLASS]
        captions = [f"{test.classes[p.argmax()]} {p.max():.0%}" for p in probabilities[members]]
        rows.append((label, list(zip(test.images(members), captions, strict=True))))
    return rows


def _write_predictions(path: Path, test: PreparedFile, outputs: Outputs) -> None:
    """Write a row for each shot: its keys, the truth and the prediction."""
    columns: dict[str, Iterable[object]] = {name: test.column(name) for name in SHOT_COLUMNS}
    if test.classes:
        columns[ACTUAL] = [test.classes[label] for label in test.labels]
        columns[PREDICTED] = [test.classes[label] for label in outputs[CLASS_HEAD].argmax(axis=1)]
        for i, label in enumerate(test.classes):
            columns[PROBABILITY + label] = [f"{value:.6f}" for value in outputs[CLASS_HEAD][:, i]]
    for i, name in enumerate(test.spec.regression):
        columns[f"{ACTUAL} {name}"] = [f"{value:.6g}" for value in test.targets[:, i]]
        columns[f"{PREDICTED} {name}"] = [f"{value:.6g}" for value in outputs[NUMBER_HEAD][:, i]]
    atomic.write_csv(path, [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])
