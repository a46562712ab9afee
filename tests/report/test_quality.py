import json
import re
from dataclasses import replace

import numpy as np

from tests.report.conftest import CLASSES, EVIL, SHOTS, lay_results, read
from xtcav_ml.data import group_files
from xtcav_ml.lineage.recorded import Recorded
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


def test_the_mean_of_a_group_of_seeds_stands_beside_the_accuracy_with_what_is_expected(project, monkeypatch):
    assert "Seeds one another may differ by points" in read(project).text
    group = {"seeds": {"1": {"expected_accuracy": 0.7}, "2": {"expected_accuracy": 0.74}}}
    group["mean"] = {"accuracy": {"mean": 0.75, "sd": 0.0125, "low": 0.7, "high": 0.8}}
    monkeypatch.setattr(group_files, "present", lambda *_: group)
    said = "Mean of 2 seeds 75.0% s.d. 1.25 points; 95 % interval over seeds and shots 70.0% to 80.0%"
    assert f"{said}; 72.0% is expected with labels drawn again" in read(project).text
    del group["seeds"]["2"]["expected_accuracy"]
    assert said in read(project).text
    assert "is expected" not in read(project).text
    group["mean"] = {"mean absolute error of x": {"mean": 2.5, "sd": 0.125, "low": 2.25, "high": 2.75}}
    numbers = (
        "Mean of 2 seeds 2.5 mean absolute error of x; s.d. 0.125; 95 % interval over seeds and shots 2.25 to 2.75"
    )
    assert numbers in read(project).text


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
    truth = np.repeat([0, 1, 2], [40, 20, 177])
    said = np.repeat([0, 0, 1, 2, 0, 2], [40, 11, 7, 2, 30, 147])

    def by_shots(true, counted):
        return metrics.wilson_interval(int(true[counted].sum()), int(counted.sum()))

    assert quality._uncertain(truth, said, ["a", "b", "c"], by_shots) == ["b (20 shots): ±19 points"]
    assert quality._uncertain(truth[:0], said[:0], ["a", "b"], by_shots) == []


def test_of_real_shots_all_intervals_of_the_table_are_by_blocks_of_time(project):
    """The same answers, once in turns and once in one stretch: shots that drift together have the wider intervals."""
    found = results.load_results(project)
    truth, right = np.zeros(SHOTS, int), np.arange(SHOTS) % 4 > 0
    keys = {name: [str(i) for i in range(SHOTS)] for name in ("evt.seconds", "evt.nanoseconds", "run", "run.index")}
    entry = {"precision": 1.0, "recall": 0.75, "shots": SHOTS, "auc": 0.9, "average_precision": 0.9, "coverage": 0.75}
    ends = []
    for kind, hits in (("shots", right), ("blocks", right), ("blocks", np.sort(right))):
        columns = {**keys, "set includes a": [str(int(hit)) for hit in hits]}
        run = replace(found.table, columns=columns)
        interval = quality._interval(replace(found, metrics={"accuracy_interval": kind}), run)
        row = quality._class(entry, "a", truth == 0, hits, run, interval)
        recall, coverage = row[3], row[6]
        assert recall == coverage
        low, high = (float(end) for end in re.fullmatch(r"75\.0% \((.*)% to (.*)%\)", recall).groups())
        ends.append((low, high))
    assert ends[0] == tuple(round(100 * end, 1) for end in metrics.wilson_interval(90, SHOTS))
    assert 0 <= ends[0][0] - ends[1][0] < 2
    assert ends[2][0] < ends[1][0] - 5


def test_numbers_of_real_shots_have_the_coverage_of_blocks_too(tmp_path):
    lay_results(tmp_path, classes=(), numbers=("x",))
    made = Recorded("k", {"data.raw": "data/raw/mine"}, {}, {})
    found, error = results.load_results(tmp_path), {"coverage": 0.8}
    truth = found.table.columns["actual x"]
    ends = {f"{end} x": [str(float(value) + far) for value in truth] for end, far in (("lowest", -1), ("highest", 1))}
    ends["highest x"][:40] = ["-1e9"] * 40  # 20 of which have no number
    run = replace(found.table, columns={**found.table.columns, **ends})
    of_shots, of_blocks = (
        quality._number(error, "x", run, quality._interval(replace(found, recorded=recorded), run))
        for recorded in (None, made)
    )
    assert of_shots["coverage_low"] == metrics.wilson_interval(80, 100)[0]
    assert of_blocks["coverage_low"] < of_shots["coverage_low"] - 0.05
    assert quality._number(error, "x", found.table, lambda *_: (0, 1)) == error  # of before there were intervals


def test_numbers_of_few_test_shots_are_named(tmp_path):
    lay_results(tmp_path, classes=(), numbers=("x", "y"))
    path = tmp_path / "results/evaluation.json"
    found = json.loads(path.read_text())
    assert "The test set is small" not in read(tmp_path, "numbers").text
    found["regression"]["y"]["shots"] = 49
    path.write_text(json.dumps(found))
    assert "uncertain by 10 % or more: y (49 shots)." in read(tmp_path, "numbers").text
