import re

from tests.report.conftest import CLASSES, EVIL, SHOTS, lay_results
from tests.report.test_markup import Reader
from xtcav_ml.report import quality, results
from xtcav_ml.science import metrics


def words(markup):
    return " ".join(Reader(markup).words)


def test_the_headline_is_the_accuracy_with_its_interval_and_what_it_is_held_against(project):
    found = results.load(project)
    said = words(quality.headline(found))
    hits = sum(found.metrics["confusion"][i][i] for i in range(3))
    low, high = metrics.wilson_interval(hits, SHOTS)
    assert f"{hits / SHOTS:.1%}" in said
    assert f"95 % interval {low:.1%} to {high:.1%}; {SHOTS} shots" in said
    assert "Largest class 33.3%" in said
    assert "Ceiling" not in said
    found.metrics.update(ceiling=0.905, ceiling_low=0.87, ceiling_high=0.93)
    assert "Ceiling 90.5% 87.0% to 93.0%" in words(quality.headline(found))


def test_the_matrix_has_its_classes_in_the_order_of_their_numbers(project):
    found = results.load(project)
    text = quality.classification(found).markup()
    matrix = text[text.index("<table") : text.index("</table>") + len("</table>")]
    read = Reader(matrix)
    heads = [word for word in read.words if word in CLASSES]
    assert heads == [*CLASSES, *CLASSES]  # columns, then rows
    counts = [int(count) for count in re.findall(r"<strong>(\d+)</strong>", matrix)]
    assert counts == [count for row in found.metrics["confusion"] for count in row]
    assert f"{counts[0]} of 40 shots labelled {CLASSES[0]} were predicted as {CLASSES[0]}" in " ".join(
        cell.get("title", "") for cell in read.named("td")
    )


def test_each_class_has_its_intervals_and_what_was_not_measured_is_a_dash(project):
    found = results.load(project)
    counts = found.metrics["confusion"]
    low, high = metrics.wilson_interval(counts[1][1], sum(counts[1]))
    said = words(quality.classification(found).markup())
    assert f"{counts[1][1] / sum(counts[1]):.1%} ({low:.1%} to {high:.1%})" in said
    assert "–" in said  # the average precision
    assert f"{EVIL}: area" in said


def test_numbers_are_told_with_their_unit_and_drawn(tmp_path):
    found = results.load(lay_results(tmp_path, classes=(), numbers=("bld.L3energy", "pulse <b>")))
    said = words(quality.headline(found))
    assert "Error of bld.L3energy" in said
    assert "MeV" in said
    assert "in the raw files' unit" in said
    assert quality.classification(found) is None
    read = Reader(quality.regression(found).markup())
    drawn = [svg["aria-label"] for svg in read.named("svg") if svg.get("role") == "img"]
    assert [label.partition(":")[0] for label in drawn] == ["bld.L3energy", "pulse <b>"]
    assert all("100 shots" in label for label in drawn)
    assert len(read.named("circle")) == 200


def test_no_numbers_no_section(project):
    assert quality.regression(results.load(project)) is None
