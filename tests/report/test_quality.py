import json

import numpy as np

from tests.report.conftest import CLASSES, EVIL, SHOTS, lay_results, read
from xtcav_ml.report import quality, results
from xtcav_ml.science import metrics


def test_the_headline_is_the_accuracy_with_its_interval_and_what_it_is_compared_with(project):
    found = results.load_results(project).metrics
    text = read(project).text
    hits = sum(found["confusion"][i][i] for i in range(3))
    low, high = metrics.wilson_interval(hits, SHOTS)
    assert f"{hits / SHOTS:.1%}" in text
    assert f"95 % interval {low:.1%} to {high:.1%}; {SHOTS} shots" in text
    assert "Baseline 33.3%" in text
    assert f"the network is significantly better (z = {found['z_score']:.3g}, McNemar's test" in text
    assert "Ceiling" not in text
    found.update(label_agreement=0.9, bayes_accuracy=0.905, bayes_accuracy_low=0.87, bayes_accuracy_high=0.93)
    found.update(expected_accuracy=0.8, expected_accuracy_low=0.75, expected_accuracy_high=0.85)
    (project / "results/evaluation.json").write_text(json.dumps(found))
    assert "Expected accuracy 80.0% 75.0% to 85.0%; mean over labels drawn again" in read(project).text
    assert "Ceiling 90.5% 87.0% to 93.0%; the same for whoever knows the pulses" in read(project).text
    del found["bayes_accuracy"]
    (project / "results/evaluation.json").write_text(json.dumps(found))
    assert "Ceiling – not computed: the labels were not drawn again" in read(project).text


def test_the_interval_says_whether_it_is_that_of_shots_or_of_blocks_of_time(project):
    found = results.load_results(project).metrics
    assert "blocks of time" not in read(project).text  # of before there were any
    found.update(blocks=10, accuracy_by_blocks_low=0.7, accuracy_by_blocks_high=0.9, accuracy_interval="shots")
    (project / "results/evaluation.json").write_text(json.dumps(found))
    assert "shots, independent of one another; by 10 blocks of time 70.0% to 90.0%" in read(project).text
    assert "take shots as independent" not in read(project, "test").text
    of_blocks = found | {"accuracy_interval": "blocks", "design_effect": 4.0}
    (project / "results/evaluation.json").write_text(json.dumps(of_blocks))
    assert "may be 2 times too narrow" in read(project, "test").text
    assert "shots, by 10 blocks of time, since neighbours are alike" in read(project).text


def test_the_matrix_has_its_classes_in_the_order_of_their_numbers(project):
    found = results.load_results(project)
    shown = read(project, "test")
    start = shown.words.index("Confusion matrix")
    names = [word for word in shown.words[start : shown.words.index("Calibration")] if word in CLASSES]
    assert names == [*CLASSES, *CLASSES]
    counts = [str(count) for row in found.metrics["confusion"] for count in row]
    assert [word for word in shown.words[start:] if word.isdigit()][:9] == counts
    (first,) = [svg["aria-label"] for svg in shown.named("svg") if svg["aria-label"].startswith("Confusion")]
    assert f"{CLASSES[0]}: {counts[0]} predicted as {CLASSES[0]}, {counts[1]} predicted as {EVIL}" in first


def test_each_class_has_its_intervals_and_what_was_not_measured_is_a_dash(project):
    counts = results.load_results(project).metrics["confusion"]
    low, high = metrics.wilson_interval(counts[1][1], sum(counts[1]))
    text = read(project, "test").text
    assert f"{counts[1][1] / sum(counts[1]):.1%} ({low:.1%} to {high:.1%})" in text
    assert "–" in text  # the average precision
    assert f"{EVIL}: area" in text


def test_sets_have_their_coverage_and_the_calibration_error_what_chance_gives(project):
    assert "trained before there were prediction sets" in read(project, "test").text
    found = results.load_results(project).metrics
    found.update(stated_coverage=0.9, set_size=1.42, empty_sets=0.013, temperature=1.2345)
    found.update(chance_calibration_error_low=0.0111, chance_calibration_error_high=0.0444)
    found["classes"][EVIL].update(coverage=0.91, coverage_low=0.81, coverage_high=0.96, set_size=1.25)
    found["classes"][EVIL].update(likely_coverage_low=0.785, likely_coverage_high=0.981)
    (project / "results/evaluation.json").write_text(json.dumps(found))
    text = read(project, "test").text
    assert "91.0% (81.0% to 96.0%) 78.5% to 98.1% 1.25" in text
    assert "On average a set has 1.42 classes; 1.3% of the sets are empty: no class reaches" in text
    assert "is 0.1. If all probabilities were right, chance would give 0.0111 to 0.0444" in text


def test_intervals_of_numbers_have_their_coverage(tmp_path):
    lay_results(tmp_path, classes=(), numbers=("x",))
    path = tmp_path / "results/evaluation.json"
    found = json.loads(path.read_text()) | {"stated_coverage": 0.8}
    found["regression"]["x"] |= {"half_width": 7.25, "coverage": 0.79, "coverage_low": 0.7, "coverage_high": 0.86}
    path.write_text(json.dumps(found))
    text = read(tmp_path, "numbers").text
    assert "7.25 79.0% (70.0% to 86.0%) –" in text  # of before there was a likely one
    assert "in 80.0% of the shots" in text


def test_numbers_have_their_unit_and_their_chart(tmp_path):
    lay_results(tmp_path, classes=(), numbers=("bld.L3energy", "pulse <b>"))
    shown = read(tmp_path, "test", "numbers")
    for part in ("Error of bld.L3energy", "MeV", "in the raw files' unit"):
        assert part in shown.text
    assert [section["id"] for section in shown.named("section")] == ["numbers"]
    labels = [svg["aria-label"] for svg in shown.named("svg")]
    assert [label.partition(":")[0] for label in labels] == ["bld.L3energy", "pulse <b>"]
    assert all("100 shots" in label for label in labels)
    assert len(shown.named("use")) > 200


def test_no_numbers_no_section(project):
    assert quality.regression_section(results.load_results(project)) is None


def test_the_calibration_is_that_of_evaluate(project):
    path = project / "results/evaluation.json"
    found = json.loads(path.read_text())
    assert "expected calibration error 0.100, Brier 0.300" in read(project, "test").words
    found["calibration"]["count"] = [0] * 9 + [777]
    path.write_text(json.dumps(found))
    changed = read(project, "test").words
    assert any(word.isdigit() and int(word) >= 500 for word in changed)  # the axis of the bars
    del found["calibration"]
    path.write_text(json.dumps(found))
    assert "dvc repro --force evaluate" in read(project, "test").text


def test_classes_of_few_test_shots_are_named_with_how_uncertain_they_are():
    confusion = np.array([[40, 0, 0], [11, 7, 2], [30, 0, 147]])
    assert quality._uncertain(confusion, ["a", "b", "c"]) == ["b (20 shots): ±19 points"]
    assert quality._uncertain(np.zeros((2, 2), int), ["a", "b"]) == []


def test_numbers_of_few_test_shots_are_named(tmp_path):
    lay_results(tmp_path, classes=(), numbers=("x", "y"))
    path = tmp_path / "results/evaluation.json"
    found = json.loads(path.read_text())
    assert "The test set is small" not in read(tmp_path, "numbers").text
    found["regression"]["y"]["shots"] = 49
    path.write_text(json.dumps(found))
    assert "uncertain by 10 % or more: y (49 shots)." in read(tmp_path, "numbers").text
