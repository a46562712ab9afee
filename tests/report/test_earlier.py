import json
import re

import pytest

from tests.conftest import git
from tests.lineage.test_recorded import lay
from tests.report.conftest import CLASSES, EVIL, lay_results, read
from xtcav_ml.report import earlier, results


@pytest.fixture
def history(project):
    """Two commits of results, the second better and of other parameters, then one that changes nothing of them."""
    git(project, "init", "--quiet")
    for right, epochs in ((0.5, 3), (0.95, 5)):
        lay(lay_results(project, right=right), epochs=epochs)
        git(project, "add", "--all")
        git(project, "commit", "--quiet", "--message", f"right {right} {EVIL}")
    (project / "notes").write_text("x")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "notes")
    return project


def said(project):
    return read(project, "before").text


def test_it_is_the_last_commit_with_other_metrics(history):
    assert "right 0.5" in said(history)
    lay_results(history, right=0.7)  # not committed: HEAD's are the ones to compare with
    assert "right 0.95" in said(history)


def test_metrics_that_differ_by_nothing_but_spaces_are_the_same(history):
    path = history / "results/evaluation.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4))
    assert "right 0.5" in said(history)


def test_a_paired_test_says_whether_the_difference_is_real(history):
    assert "The model of this run is better than that of" in said(history)
    assert "Paired test on 120 common test shots" in said(history)


def test_metrics_and_parameters_are_set_side_by_side(history):
    present = results.load_results(history)
    (_, then), now = earlier.before(present), present.metrics
    text = said(history)
    assert (
        f"accuracy {then['accuracy']:.1%} {now['accuracy']:.1%} {100 * (now['accuracy'] - then['accuracy']):+.1f} points"
        in text
    )
    assert f"recall of {CLASSES[1]}" in text
    assert "train.epochs 3 5" in text
    assert "train.rate" not in text


def test_runs_without_a_shot_in_common_get_no_paired_test(history):
    table = history / "results/predictions.csv"
    table.write_text(re.sub(r"\n(\d+),", r"\n9\1,", table.read_text()))
    assert "No paired test" in said(history)


@pytest.mark.parametrize("name", ["evaluation.json", "metrics.json"])
def test_a_commit_without_table_and_lock_still_has_its_metrics(project, name):
    (project / "results/metrics.json").write_bytes((project / "results/evaluation.json").read_bytes())
    git(project, "init", "--quiet")
    git(project, "add", "results/metrics.json", f"results/{name}")  # all were in the former once
    git(project, "commit", "--quiet", "--message", "first")
    lay_results(project, right=0.3)
    assert "that commit or this folder has no results/predictions.csv" in said(project)
    assert "where both have their dvc.lock" in said(project)


def test_without_git_or_an_earlier_result_it_says_what_to_do(project):
    assert "No earlier commit has other metrics" in said(project)


def test_a_folder_without_predictions_gets_no_paired_test(history):
    (history / "results/predictions.csv").unlink()
    text = said(history)
    assert "No paired test: that commit or this folder has no results/predictions.csv" in text
    assert "test shots 120 120" in text


def test_of_many_changed_parameters_the_first_are_shown_and_the_others_folded(history):
    lock = history / "dvc.lock"
    more = ", ".join(f"p{number}: {number}" for number in range(30))
    lock.write_text(lock.read_text().replace("epochs: 5", f"epochs: 5, {more}"))
    page = read(history, "before")
    assert "Changed parameters, the first 20 of 31" in page.text
    assert "The other 11" in page.text
    assert len(page.named("details")) == 1
