"""evaluate: the trained network on test.h5 -> evaluation.json, tables for DVC, and pictures."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.data import Axes
from xtcav_ml.config.paths import CURVES, EVALUATION, METRICS, PLOTS, PREDICTIONS
from xtcav_ml.config.schema import EVENT_KEY
from xtcav_ml.data.history import read_history
from xtcav_ml.data.predictions import ACTUAL, HIGHEST, INCLUDED, LOWEST, PREDICTED, PROBABILITY
from xtcav_ml.data.prepared import SHOT_COLUMNS, PreparedFile
from xtcav_ml.figures import quality, training
from xtcav_ml.figures.drawing import write_png
from xtcav_ml.figures.frames import Grid
from xtcav_ml.learning import backend, keras_file
from xtcav_ml.learning.backend import keras
from xtcav_ml.learning.batches import predict_all
from xtcav_ml.learning.layer_plan import CLASS_HEAD, NUMBER_HEAD
from xtcav_ml.pipeline import sheets
from xtcav_ml.science import blocks, ceiling, epochs, metric_names, metrics
from xtcav_ml.science.statements import Statements, likely_coverage
from xtcav_ml.science.thresholds import SUSPICIOUS
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError, reading, warn
from xtcav_ml.system.progress import console


def evaluate_network(
    threads: int, data: Path, model_path: Path, history_path: Path, out: Path, *, axes: Axes | None = None
) -> None:
    """Evaluate the network on `data`/test.h5 and write `out`/evaluation.json, metrics.json, tables (CSV) and plots (PNG).

    The network is calibrated on `data`/validation.h5. `axes` is the calibration of raw frames, None if it is not known. Raises
    UserError if a file is missing.
    """
    for path in (model_path, history_path):
        if not path.is_file():
            raise UserError(f"{path}: missing (expected an output of train). Fix: run `make repro`")
    backend.configure(seed=0, threads=threads)
    history = read_history(history_path)
    with reading(history_path, "values of each epoch of `xtcav train`", "remove it, then run `make repro`"):
        best = epochs.best(history)
    plots = out / PLOTS.name
    with PreparedFile(data / "test.h5") as test, PreparedFile(data / "validation.h5") as validation:
        model, said, outputs = predict_test(model_path, test)
        values: dict[str, Any] = {"best_epoch": best, "shots": test.shots}
        curves = [name for name in training.curves_of(history) if name in training.MEASURES]
        write_png(plots / "learning_curves.png", training.learning_curves(history, best, curves))
        if test.classes:
            values |= _classes(test, outputs[CLASS_HEAD], out)
            values |= _limits(test, outputs[CLASS_HEAD].argmax(axis=1))
            values["best_val_accuracy"] = history[best - 1]["val_accuracy"]
        if test.spec.regression:
            values["regression"] = _numbers(test, outputs[NUMBER_HEAD], plots)
        table = prediction_columns(test, outputs)
        if said is None:
            console().print(f"evaluate: no prediction sets: {model_path} was trained before there were any")
        else:
            _add_coverage(values, test, said, outputs)
            _add_likely_coverage(values, validation, said)
            table |= _stated_columns(test, said, outputs)
        if test.spec.has_frames:
            sheets.draw_frames(sheets.Shown(test, Grid.of(test.spec.preprocessing, axes), outputs), model, plots)
        atomic.write_csv(out / CURVES.name, history)
        write_columns(out / PREDICTIONS.name, table)
        atomic.write_json(out / EVALUATION.name, values)
        atomic.write_json(out / METRICS.name, _tabulated(values))


def predict_test(model_path: Path, test: PreparedFile) -> tuple[keras.Model, Statements | None, sheets.Outputs]:
    """Return a trained network, what it states, and what it says of all test shots.

    Raises UserError if it was trained on other data.
    """
    model, spec = keras_file.load_network(model_path)
    if not spec.same_as(test.spec):
        raise UserError(
            f"{model_path}: of other data than {test.path} (found {spec.to_json()} with its dark frame, expected "
            f"{test.spec.to_json()} with that of the file). Fix: run `make repro`"
        )
    return model, spec.statements, predict_all(model, test)


def _tabulated(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the few metrics that a table of runs has room for, by the same names."""
    names = (*metric_names.HEADLINE, "expected_accuracy")
    shown = {name: values[name] for name in names if name in values}
    errors = {name: {"rms_error": error["rms_error"]} for name, error in values.get("regression", {}).items()}
    return shown | ({"regression": errors} if errors else {})


def _classes(test: PreparedFile, probabilities: NDArray[np.float32], out: Path) -> dict[str, Any]:
    """Measure the probabilities (N, classes), and draw the results."""
    measured = metrics.classification(test.labels, probabilities)
    calibrated = metrics.calibration(test.labels, probabilities)
    curves = quality.class_curves(test.classes, test.labels, probabilities)
    title = f"{measured.shots} test shots, accuracy {measured.accuracy:.1%}"
    for name, figure in {
        "confusion_matrix": quality.confusion_matrix(measured.confusion, test.classes, title),
        "calibration": quality.calibration_curve(calibrated),
        "roc_pr": quality.one_against_rest(curves, "each class against the rest, by its probability"),
    }.items():
        write_png(out / PLOTS.name / f"{name}.png", figure)
    values = _plain(measured, test.classes)
    for name, roc, pr in curves:
        values["classes"][name] |= _json({"auc": roc.area, "average_precision": pr.average})
    values |= _intervals(test, probabilities.argmax(axis=1) == test.labels, measured)
    values |= {"expected_calibration_error": calibrated.expected_error, "brier": calibrated.brier}
    values |= _between("chance_calibration_error", metrics.chance_calibration_error(probabilities))
    console().print(f"evaluate: {title} ({values['accuracy_low']:.1%} to {values['accuracy_high']:.1%}) -> {out}")
    return values | {"calibration": _bins(calibrated)}


def _bins(calibrated: metrics.Calibration) -> dict[str, Any]:
    """Return the bins of a calibration, of each what they hold, as lists."""
    return _json({name: value.tolist() for name, value in vars(calibrated).items() if isinstance(value, np.ndarray)})


def _intervals(test: PreparedFile, right: NDArray[np.bool_], measured: metrics.Classification) -> dict[str, Any]:
    """Return interval and z of the accuracy: by shots if they are simulated and thus independent, else by blocks of time."""
    blocked = _blocked(test, right, np.ones(len(right), bool))
    by_shots = (measured.accuracy_low, measured.accuracy_high) if test.truth is not None else None
    return {
        **_between("accuracy", by_shots or (blocked.low, blocked.high)),
        "z_score": measured.z_score if by_shots else measured.z_score / sqrt(blocked.design_effect),
        **_between("accuracy_by_blocks", (blocked.low, blocked.high)),
        "accuracy_interval": "shots" if by_shots else "blocks",
        "blocks": blocked.blocks,
        "design_effect": blocked.design_effect,
    }


def _blocked(test: PreparedFile, true: NDArray[np.bool_], counted: NDArray[np.bool_]) -> blocks.Blocked:
    """Return the interval of the share of `counted` shots (N,) with `true` (N,), by blocks of time."""
    times = [test.column(name)[counted] for name in (*EVENT_KEY[:2], "run", "run.index")]
    return blocks.blocked_interval(true[counted], blocks.of_time(*times))


def _between(name: str, ends: tuple[float, float]) -> dict[str, float]:
    return dict(zip((f"{name}_low", f"{name}_high"), ends, strict=True))


def _limits(test: PreparedFile, predicted: NDArray[np.int64]) -> dict[str, Any]:
    """Return what the noise of simulated labels allows, each share with its 95 % interval; empty for other shots.

    How many labels are those of noise-free waveforms; and with labels drawn again for the same pulses, the accuracy of who
    knows the pulses, and that to be expected of these predictions (N,). A warning says if the network knows the noise.
    """
    shares, redrawn = {}, test.redrawn
    if test.truth is not None:
        right = int((test.truth == test.labels).sum())
        shares["label_agreement"] = ceiling.Share(right / test.shots, *metrics.wilson_interval(right, test.shots))
    if redrawn is not None:
        shares["bayes_accuracy"] = best = ceiling.bayes_accuracy(redrawn)
        shares["expected_accuracy"] = expected = ceiling.expected_accuracy(redrawn, predicted)
        console().print(f"evaluate: {expected.value:.1%} expected with labels drawn again; at best {best.value:.1%}")
        shares["label_luck"], score = ceiling.label_luck(redrawn, test.labels, predicted)
        if score > SUSPICIOUS:
            warn(_known(shares["label_luck"], score))
    elif test.truth is not None:
        console().print(
            f"evaluate: no ceiling, since {test.path} has no labels drawn again, as `xtcav prepare` makes them"
        )
    return _json(
        {
            key: value
            for name, one in shares.items()
            for key, value in ((name, one.value), *_between(name, (one.low, one.high)).items())
        }
    )


def _known(luck: ceiling.Share, score: float) -> str:
    return (
        f"{EVALUATION}: the network knows the noise of the labels, as labels of test shots reached the training or prepare "
        f"chose test shots by their label (found {100 * luck.value:.1f} points more right than with labels drawn again, "
        f"{score:.1f} standard deviations, expected 0). Fix: look for either before you believe the accuracy"
    )


def _numbers(test: PreparedFile, predicted: NDArray[np.float32], folder: Path) -> dict[str, Any]:
    """Measure the predicted numbers (N, V), and draw the results."""
    numbers = {name: (test.targets[:, i], predicted[:, i]) for i, name in enumerate(test.spec.regression)}
    write_png(folder / "regression.png", quality.regression_scatter(numbers))
    errors = {name: metrics.regression(*pair) for name, pair in numbers.items()}
    for name, error in errors.items():
        console().print(
            f"evaluate: {name}: r.m.s. error {error.rms_error:.3g} of {error.shots} test shots, {error.spread:.3g} of always "
            f"predicting the mean; bias {error.mean_error:.2g}"
        )
    return _json({name: asdict(error) for name, error in errors.items()})


def _add_coverage(values: dict[str, Any], test: PreparedFile, said: Statements, outputs: sheets.Outputs) -> None:
    """Add what the model states of its predictions, and how often that is true of the test shots, to `values`."""
    values["stated_coverage"] = said.coverage
    if test.classes:
        included = said.sets(outputs[CLASS_HEAD])
        covered, sizes = included[np.arange(test.shots), test.labels], included.sum(axis=1)
        values |= {"temperature": said.temperature, "empty_sets": float((sizes == 0).mean())}
        values |= _covered(test, covered, np.ones(test.shots, bool)) | {"set_size": float(sizes.mean())}
        for label, name in enumerate(test.classes):
            members = test.labels == label
            values["classes"][name] |= _covered(test, covered, members) | {"set_size": _mean(sizes[members])}
        console().print(f"evaluate: sets of {sizes.mean():.2f} classes have that of the label in {covered.mean():.1%}")
    low, high = said.ends(outputs[NUMBER_HEAD] if test.spec.regression else test.targets)
    for i, name in enumerate(test.spec.regression):
        known = np.isfinite(test.targets[:, i])
        inside = (low[:, i] <= test.targets[:, i]) & (test.targets[:, i] <= high[:, i])
        width = said.half_width[i]
        values["regression"][name] |= {"half_width": width} | ({} if width is None else _covered(test, inside, known))


def _add_likely_coverage(values: dict[str, Any], validation: PreparedFile, said: Statements) -> None:
    """Add between which ends the coverage of a class or a number lies for most validation sets of as many shots."""
    for label, name in enumerate(validation.classes):
        shots = int((validation.labels == label).sum())
        values["classes"][name] |= _between("likely_coverage", likely_coverage(shots, said.coverage))
        values["classes"][name]["validation_shots"] = shots
    for i, name in enumerate(validation.spec.regression):
        shots = int(np.isfinite(validation.targets[:, i]).sum())
        if said.half_width[i] is not None:
            values["regression"][name] |= _between("likely_coverage", likely_coverage(shots, said.coverage))
        values["regression"][name]["validation_shots"] = shots


def _covered(test: PreparedFile, true: NDArray[np.bool_], counted: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the share of `counted` shots (N,) of which a statement is `true` (N,), with its interval; null if there are none.

    The interval is by shots if they are simulated and thus independent, else by blocks of time.
    """
    ends = metrics.wilson_interval(int(true[counted].sum()), int(counted.sum()))
    if test.truth is None:
        blocked = _blocked(test, true, counted)
        ends = (blocked.low, blocked.high)
    return {"coverage": _mean(true[counted]), **_between("coverage", ends)}


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None


def _plain(measured: metrics.Classification, classes: Sequence[str]) -> dict[str, Any]:
    values = {name: value for name, value in asdict(measured).items() if not isinstance(value, np.ndarray)}
    columns = zip(classes, measured.precision, measured.recall, measured.confusion.sum(axis=1), strict=True)
    per_class = {label: {"precision": p, "recall": r, "shots": int(shots)} for label, p, r, shots in columns}
    return _json(values | {"classes": per_class, "confusion": measured.confusion.tolist()})


def _json(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers for JSON; NaN, of what could not be measured, is null."""
    plain: dict[str, Any] = json.loads(json.dumps(tree), parse_constant=lambda _: None)
    return plain


def prediction_columns(test: PreparedFile, outputs: sheets.Outputs) -> dict[str, Iterable[object]]:
    """Return the columns of the table of predictions: of each shot its keys, the truth and the prediction."""
    columns: dict[str, Iterable[object]] = {name: test.column(name) for name in SHOT_COLUMNS}
    if test.classes:
        columns[ACTUAL] = [test.classes[label] for label in test.labels]
        columns[PREDICTED] = [test.classes[label] for label in outputs[CLASS_HEAD].argmax(axis=1)]
        for i, label in enumerate(test.classes):
            columns[PROBABILITY + label] = [f"{value:.6f}" for value in outputs[CLASS_HEAD][:, i]]
    for i, name in enumerate(test.spec.regression):
        columns[f"{ACTUAL} {name}"] = [f"{value:.6g}" for value in test.targets[:, i]]
        columns[f"{PREDICTED} {name}"] = [f"{value:.6g}" for value in outputs[NUMBER_HEAD][:, i]]
    return columns


def _stated_columns(test: PreparedFile, said: Statements, outputs: sheets.Outputs) -> dict[str, Iterable[object]]:
    """Return the columns of the same table with the set of each shot, and the ends of its intervals."""
    columns: dict[str, Iterable[object]] = {}
    if test.classes:
        sets = said.sets(outputs[CLASS_HEAD]).astype(int)
        columns |= {INCLUDED + label: sets[:, i] for i, label in enumerate(test.classes)}
    if test.spec.regression:
        for prefix, ends in zip((LOWEST, HIGHEST), said.ends(outputs[NUMBER_HEAD]), strict=True):
            for i, name in enumerate(test.spec.regression):
                columns[prefix + name] = [f"{value:.6g}" for value in ends[:, i]]
    return columns


def write_columns(path: Path, columns: Mapping[str, Iterable[object]]) -> None:
    """Write columns as a table (CSV)."""
    atomic.write_csv(path, [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])
