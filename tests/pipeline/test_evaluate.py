import csv
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from matplotlib.figure import Figure

from tests.conftest import small_pictures, without_graphs, write_prepared_file
from tests.learning.test_fit import PARAMS, write
from xtcav_ml.config.data import Axes
from xtcav_ml.config.prepare import Pixels
from xtcav_ml.config.schema import EVENT_KEY
from xtcav_ml.data import history, model_file
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import calibrate, fit, keras_file
from xtcav_ml.learning.batches import Batches
from xtcav_ml.learning.layer_plan import CLASS_HEAD, FRAME_INPUT, NUMBER_HEAD
from xtcav_ml.pipeline import evaluate, sheets
from xtcav_ml.science import metrics, statements
from xtcav_ml.system.errors import UserError

EVERY = ["learning_curves.png", "mistakes.png", "saliency.png"]
OF_CLASSES = ["confusion_matrix.png", "calibration.png", "roc_pr.png", "frames.png", "mean_frames.png"]


@pytest.fixture(autouse=True, scope="module")
def _quick(keras_ready):
    with without_graphs(), small_pictures():
        yield


@pytest.fixture
def undrawn(monkeypatch):
    """Leave the files of pictures empty, where a test looks at their names alone."""
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: path.touch())


def columns(*, labels=True, numbers=False, features=False):
    rng = np.random.default_rng(5)
    learned = {"labels": labels}
    if labels:
        learned["truth"] = np.arange(48) % 2 ^ (np.arange(48) < 6)  # six labels are noise
        learned["redrawn"] = np.where(np.eye(2)[np.arange(48) % 2], 9, 3)
    if numbers:
        learned["regression"] = {"brightness": rng.uniform(20, 60, 48)}
    if features:
        learned["features"] = {"bld.L3energy": rng.normal(4000, 3, 48)}
    return learned


def trained(folder, *, epochs, **learned):
    """Write a test set, and a model of it with its history as train does."""
    params = PARAMS.model_copy(update={"epochs": epochs})
    with write(folder / "test.h5", 48, 1, **columns(**learned)) as test:
        fitted = fit.fit(test, test, params)
        said = calibrate.calibrate(fitted.model, test, 0.75)
        keras_file.save(fitted.model, replace(test.spec, statements=said), folder / "model.keras")
    shutil.copyfile(folder / "test.h5", folder / "validation.h5")
    lines = [history.line_of(epoch, row) for epoch, row in enumerate(fitted.history, start=1)]
    (folder / "history.jsonl").write_text("".join(lines))
    return folder


def run(folder, out="out"):
    """Evaluate, and return metrics.json."""
    evaluate.evaluate_network(2, folder, folder / "model.keras", folder / "history.jsonl", folder / out)
    return json.loads((folder / out / "evaluation.json").read_text())


def pictures(folder, out="out"):
    return {path.name: path.read_bytes() for path in (folder / out / "plots").iterdir()}


def table(folder, out="out"):
    with (folder / out / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def said(folder):
    with PreparedFile(folder / "test.h5") as test:
        model, _ = keras_file.load_network(folder / "model.keras")
        return test.labels if test.classes else None, test.targets, model.predict(Batches(test, 64), verbose=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, keras_ready):
    """Of a network that has learned little and makes mistakes."""
    return trained(tmp_path_factory.mktemp("evaluated"), epochs=1, numbers=True, features=True)


@pytest.fixture(scope="module")
def evaluated(folder):
    """The metrics, and the rows of each sheet that it drew, by file name and row name."""
    rows_of, drawn = {}, {}
    with pytest.MonkeyPatch.context() as patch:

        def draw(rows, title, real=sheets.sheet):
            figure = real(rows, title)
            rows_of[figure] = dict(rows)
            return figure

        def write(path, figure, real=sheets.write_png):
            drawn[path.name] = rows_of.get(figure)
            real(path, figure)

        patch.setattr(sheets, "sheet", draw)
        patch.setattr(sheets, "write_png", write)
        return run(folder), drawn


def test_metrics_are_those_of_the_predictions(folder, evaluated):
    labels, targets, predicted = said(folder)
    written = evaluated[0]
    probabilities = predicted[CLASS_HEAD]
    sure = metrics.calibration(labels, probabilities)
    assert written["expected_calibration_error"] == sure.expected_error
    assert written["brier"] == sure.brier
    chance = metrics.chance_calibration_error(probabilities)
    assert (written["chance_calibration_error_low"], written["chance_calibration_error_high"]) == chance
    assert written["calibration"]["count"] == sure.count.tolist()
    assert written["calibration"]["accuracy"] == [None if np.isnan(rate) else rate for rate in sure.accuracy]
    assert written["accuracy"] == (probabilities.argmax(axis=1) == labels).mean()
    for value, name in enumerate(("no", "yes")):
        one = written["classes"][name]
        assert one["auc"] == metrics.roc(labels == value, probabilities[:, value]).area
        assert one["average_precision"] == metrics.precision_recall(labels == value, probabilities[:, value]).average
        assert {"precision", "recall", "shots"} <= one.keys()
    errors = metrics.regression(targets[:, 0], predicted[NUMBER_HEAD][:, 0])
    assert written["regression"]["brightness"]["rms_error"] == errors.rms_error


def test_the_noise_of_the_labels_sets_a_ceiling(folder, evaluated):
    found = evaluated[0]
    assert found["label_agreement"] == 42 / 48
    assert (found["label_agreement_low"], found["label_agreement_high"]) == metrics.wilson_interval(42, 48)
    assert found["bayes_accuracy"] == pytest.approx(9 / 12)
    labels, _, predicted = said(folder)
    right = (predicted[CLASS_HEAD].argmax(axis=1) == labels).mean()
    assert found["expected_accuracy"] == pytest.approx((9 * right + 3 * (1 - right)) / 12)
    assert found["expected_accuracy_low"] < found["expected_accuracy"] < found["expected_accuracy_high"]
    assert json.loads((folder / "out/metrics.json").read_text())["expected_accuracy"] == found["expected_accuracy"]
    assert found["label_luck"] == pytest.approx(right - found["expected_accuracy"])
    assert found["label_luck_low"] < found["label_luck"] < found["label_luck_high"]


def test_what_the_model_states_is_measured_and_of_each_shot_in_the_table(folder, evaluated):
    labels, targets, predicted = said(folder)
    found, rows, stated = evaluated[0], table(folder), model_file.read_spec(folder / "model.keras").statements
    assert (found["stated_coverage"], found["temperature"]) == (0.75, stated.temperature)
    sets = stated.sets(predicted[CLASS_HEAD])
    covered = sets[np.arange(48), labels]
    assert found["coverage"] == covered.mean() >= 0.75  # of the shots that it was made from
    assert (found["coverage_low"], found["coverage_high"]) == metrics.wilson_interval(int(covered.sum()), 48)
    assert (found["set_size"], found["empty_sets"]) == (sets.sum(axis=1).mean(), (~sets.any(axis=1)).mean())
    for value, name in enumerate(("no", "yes")):
        assert found["classes"][name]["coverage"] == covered[labels == value].mean() >= 0.75
        assert found["classes"][name]["set_size"] == sets[labels == value].sum(axis=1).mean()
        likely = statements.likely_coverage(24, 0.75)
        assert tuple(found["classes"][name][f"likely_coverage_{end}"] for end in ("low", "high")) == likely
        assert found["classes"][name]["validation_shots"] == 24
        assert [row[f"set includes {name}"] for row in rows] == [str(int(inside)) for inside in sets[:, value]]
    low, high = stated.ends(predicted[NUMBER_HEAD])
    number = found["regression"]["brightness"]
    assert number["half_width"] == stated.half_width[0]
    assert number["likely_coverage_low"] == statements.likely_coverage(48, 0.75)[0]
    assert number["coverage"] == ((low <= targets) & (targets <= high)).mean() >= 0.75
    for prefix, ends in (("lowest", low), ("highest", high)):
        assert [float(row[f"{prefix} brightness"]) for row in rows] == pytest.approx(ends[:, 0], rel=1e-5)


def test_statements_of_neighbours_that_are_alike_are_covered_within_a_wider_interval():
    true, order = np.arange(400) < 200, np.arange(400)
    simulated, real = (
        evaluate._covered(SimpleNamespace(column=lambda _: order, truth=truth), true, np.arange(400) % 4 > 0)
        for truth in (true, None)
    )
    assert (simulated["coverage_low"], simulated["coverage_high"]) == metrics.wilson_interval(150, 300)
    assert simulated["coverage"] == real["coverage"] == 0.5
    assert real["coverage_high"] - real["coverage_low"] > 3 * (simulated["coverage_high"] - simulated["coverage_low"])


def test_a_model_of_before_there_were_statements_is_evaluated_without_them(
    folder, tmp_path, undrawn, capsys, monkeypatch
):
    monkeypatch.setattr(sheets, "draw_frames", lambda *_: None)
    shutil.copytree(folder, tmp_path / "old", ignore=shutil.ignore_patterns("out", "again", "curves"))
    model, spec = keras_file.load_network(folder / "model.keras")
    keras_file.save(model, replace(spec, statements=None), tmp_path / "old/model.keras")
    found = run(tmp_path / "old")
    assert not {"coverage", "temperature", "set_size"} & (found.keys() | found["classes"]["no"].keys())
    assert not [name for name in table(tmp_path / "old")[0] if name.startswith(("set includes", "lowest"))]
    assert "no prediction sets" in capsys.readouterr().out


def test_simulated_shots_are_independent_and_others_have_the_interval_of_blocks_of_time(
    folder, evaluated, tmp_path, undrawn, monkeypatch
):
    monkeypatch.setattr(sheets, "draw_frames", lambda *_: None)
    found = evaluated[0]
    assert found["accuracy_interval"] == "shots"
    assert (found["accuracy_low"], found["accuracy_high"]) == metrics.wilson_interval(round(48 * found["accuracy"]), 48)
    shutil.copytree(folder, tmp_path / "real", ignore=shutil.ignore_patterns("out", "again", "curves"))
    write(
        tmp_path / "real/test.h5", 48, 1, **columns(numbers=True, features=True) | {"truth": None, "redrawn": None}
    ).close()
    real = run(tmp_path / "real")
    assert real["accuracy_interval"] == "blocks"
    assert (real["accuracy_low"], real["accuracy_high"]) == (
        real["accuracy_by_blocks_low"],
        real["accuracy_by_blocks_high"],
    )
    assert real["blocks"] == 6
    assert all(real[name] == found[name] for name in ("accuracy", "accuracy_by_blocks_low", "blocks", "design_effect"))
    assert real["coverage"] == found["coverage"]
    assert real["coverage_high"] - real["coverage_low"] != found["coverage_high"] - found["coverage_low"]
    assert not {"label_agreement", "bayes_accuracy", "expected_accuracy"} & real.keys()


def test_z_of_shots_that_are_alike_is_that_of_fewer():
    labels = np.tile([0, 1, 1, 2], 100)
    right = np.arange(400) % 80 < 60  # in stretches of 60
    measured = metrics.classification(labels, np.eye(3)[np.where(right, labels, 0)])
    real, simulated = (
        evaluate._intervals(SimpleNamespace(column=lambda _: np.arange(400), truth=truth), right, measured)
        for truth in (None, labels)
    )
    assert simulated["z_score"] == measured.z_score > 2
    assert real["design_effect"] > 4
    assert real["z_score"] == pytest.approx(measured.z_score / np.sqrt(real["design_effect"]))


def test_predictions_are_a_row_for_each_shot(folder, evaluated):
    labels, _, predicted = said(folder)
    rows = table(folder)
    assert list(rows[0])[:5] == [*EVENT_KEY, "run", "run.index"]
    assert [tuple(row[name] for name in EVENT_KEY) for row in rows] == [(str(i),) * 3 for i in range(48)]
    assert [(row["run"], row["run.index"]) for row in rows] == [("70", str(i)) for i in range(48)]
    assert [row["actual"] for row in rows] == [("no", "yes")[label] for label in labels]
    assert [row["predicted"] for row in rows] == [("no", "yes")[i] for i in predicted[CLASS_HEAD].argmax(axis=1)]
    assert float(rows[3]["predicted brightness"]) == pytest.approx(float(predicted[NUMBER_HEAD][3, 0]), rel=1e-5)


@pytest.mark.thorough
def test_curves_of_epochs_with_other_quantities_stay_in_their_columns(folder):
    rows = history.read_history(folder / "history.jsonl")
    rows.append({"gradient_cosine": 0.25, **{name: 2 * value for name, value in rows[0].items()}})
    del rows[1]["gradient_norm"]
    other = folder / "other.jsonl"
    other.write_text("".join(history.line_of(epoch, row) for epoch, row in enumerate(rows, start=1)))
    evaluate.evaluate_network(2, folder, folder / "model.keras", other, folder / "curves")
    with (folder / "curves/learning_curves.csv").open(newline="") as file:
        written = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    assert written == rows


def test_all_pictures_are_drawn_and_named_and_are_the_same_bytes_again(folder, evaluated):
    drawn = pictures(folder)
    assert set(drawn) == {*EVERY, *OF_CLASSES, "regression.png"}
    assert all(picture.startswith(b"\x89PNG") for picture in drawn.values())
    run(folder, "again")
    assert pictures(folder, "again") == drawn
    for name in ("metrics.json", "predictions.csv", "learning_curves.csv"):
        assert (folder / "out" / name).read_bytes() == (folder / "again" / name).read_bytes()


def test_mistakes_are_the_most_confident_of_each_label_and_the_largest_errors(folder, evaluated):
    shown = evaluated[1]["mistakes.png"]
    labels, targets, predicted = said(folder)
    probabilities = predicted[CLASS_HEAD]
    assert any(shown[name] for name in ("no", "yes")), "this network was to make mistakes"
    for value, name in enumerate(("no", "yes")):
        wrong = [i for i in np.flatnonzero(labels == value) if probabilities[i].argmax() != value]
        worst = sorted(wrong, key=lambda i: -probabilities[i].max())[: sheets.FRAMES_PER_CLASS]
        other = ("no", "yes")[1 - value]
        captions = [f"predicted {other} {probabilities[i].max():.1%}\nrun 70, shot {i}" for i in worst]
        assert [picture.caption for picture in shown[name]] == captions
    error = np.abs(predicted[NUMBER_HEAD][:, 0] - targets[:, 0])
    farthest = np.argsort(-error)[: sheets.FRAMES_PER_CLASS]
    assert shots(shown["brightness"]) == farthest.tolist()
    first = farthest[0]
    expected = f"predicted {predicted[NUMBER_HEAD][first, 0]:.4g}\nmeasured {targets[first, 0]:.4g}\n"
    assert shown["brightness"][0].caption.startswith(expected)
    with PreparedFile(folder / "test.h5") as test:
        assert shown["brightness"][0].frame.tolist() == test.images(farthest[:1])[0].tolist()


def test_maps_are_drawn_of_frames_that_the_network_is_right_on(folder, evaluated):
    shown = evaluated[1]["saliency.png"]
    labels, _, predicted = said(folder)
    right = predicted[CLASS_HEAD].argmax(axis=1) == labels
    for value, name in enumerate(("no", "yes")):
        expected = np.flatnonzero(right & (labels == value))[: sheets.FRAMES_PER_CLASS]
        assert shots(shown[name]) == expected.tolist()
    assert len(shown["brightness"]) == sheets.FRAMES_PER_CLASS
    assert all(picture.evidence.shape == (8, 10) for row in shown.values() for picture in row)
    assert any(picture.evidence.any() for row in shown.values() for picture in row)


def shots(pictures):
    return [int(picture.caption.rpartition("shot ")[2]) for picture in pictures]


def test_the_mean_of_a_class_is_beside_the_mean_of_its_mistakes(folder, evaluated):
    shown = evaluated[1]["mean_frames.png"]
    labels, _, predicted = said(folder)
    for value, name in enumerate(("no", "yes")):
        members = labels == value
        counts = [members.sum(), (members & (predicted[CLASS_HEAD].argmax(axis=1) != value)).sum()]
        words = [f"{what}\nmean of {count}" for what, count in zip(("all", "mistakes"), counts, strict=True) if count]
        assert [picture.caption for picture in shown[name]] == words


def test_pictures_have_the_calibration_that_is_known(folder, tmp_path, undrawn, monkeypatch):
    grids = []
    monkeypatch.setattr(sheets, "write_png", lambda path, figure: None)
    monkeypatch.setattr(sheets.saliency, "maps", lambda model, inputs, *_: np.zeros((len(inputs[FRAME_INPUT]), 8, 10)))
    monkeypatch.setattr(sheets, "sheet", lambda rows, title: grids.extend(p.grid for _, row in rows for p in row))
    arguments = 2, folder, folder / "model.keras", folder / "history.jsonl", tmp_path
    evaluate.evaluate_network(*arguments)
    evaluate.evaluate_network(*arguments, axes=Axes(time_per_column=1.5, energy_per_row=-0.2))
    assert {(grid.calibrated, grid.column, grid.row) for grid in grids} == {(False, 1, 1), (True, 1.5, -0.2)}


def test_a_network_that_is_never_wrong_has_an_empty_gallery_and_knows_what_it_cannot(tmp_path, undrawn, capsys):
    tf.config.run_functions_eagerly(False)  # of many steps the graph is quicker
    trained(tmp_path, epochs=6)
    tf.config.run_functions_eagerly(True)
    found = run(tmp_path)
    assert found["accuracy"] == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "knows the noise" in line]
    assert "found 25.0 points more right than with labels drawn again, 3." in line
    assert (found["classes"]["yes"]["auc"], found["classes"]["yes"]["average_precision"]) == pytest.approx((1, 1))
    assert set(pictures(tmp_path)) == {*EVERY, *OF_CLASSES}


def test_a_class_that_is_not_in_the_test_set_is_null(tmp_path, undrawn, monkeypatch):
    monkeypatch.setattr(sheets, "draw_frames", lambda *_: None)
    trained(tmp_path, epochs=1)
    frames = np.full((12, 8, 10), 100, np.int16)
    steps, pixels = ({"step": "subtract_dark"},), Pixels(dtype="int16", quantum=0.05)
    write_prepared_file(tmp_path / "test.h5", frames, np.zeros(12, int), steps=steps, pixels=pixels)
    classes = run(tmp_path)["classes"]
    for name in ("auc", "average_precision", "recall"):
        assert classes["yes"][name] is None
    assert classes["no"]["auc"] is None  # there is nothing to tell it from
    assert classes["no"]["average_precision"] == 1


def test_numbers_alone_have_their_pictures(tmp_path, undrawn):
    found = run(trained(tmp_path, epochs=1, labels=False, numbers=True))
    assert set(pictures(tmp_path)) == {*EVERY, "regression.png"}
    assert "accuracy" not in found
    assert found["regression"]["brightness"]["shots"] == 48


def test_what_train_makes_must_be_there(tmp_path):
    with pytest.raises(UserError, match=r"model\.keras: .*train.*\. Fix: run `make repro`"):
        run(tmp_path)
