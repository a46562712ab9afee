import numpy as np

from tests.report.conftest import lay_results
from tests.report.test_markup import Reader
from xtcav_ml.report import frames, results


def test_three_sheets_with_words_for_who_cannot_see_them(project):
    found = frames.sheets(results.load(project))
    assert [section.name for section in found] == ["frames", "mistakes", "saliency"]
    for section in found:
        (image,) = Reader(section.markup()).named("img")
        assert len(image["alt"]) > 20


def test_a_sheet_that_is_not_there_is_left_out(project):
    (project / "results/plots/saliency.png").unlink()
    assert [section.name for section in frames.sheets(results.load(project))] == ["frames", "mistakes"]


def test_the_surest_mistakes_are_listed_first(project):
    found = results.load(project)
    run = found.table
    wrong = np.array(run.columns["actual"]) != np.array(run.columns["predicted"])
    sure = np.max([run.floats(f"probability of {name}") for name in run.classes()], axis=0)
    surest = max(np.flatnonzero(wrong), key=lambda i: sure[i])
    read = Reader(frames.sheets(found)[1].markup())
    assert f"The surest of {wrong.sum()} mistakes" in read.words
    rows = [word for word in read.words if word.startswith("70, ")]
    assert rows[0] == f"70, {run.columns['run.index'][surest]}"
    assert len(rows) == frames.WORST


def test_no_mistakes_and_numbers_alone_are_no_fault(tmp_path):
    assert "No test shot" in frames.sheets(results.load(lay_results(tmp_path / "a", right=1.1)))[1].markup()
    assert (
        "<table" not in frames.sheets(results.load(lay_results(tmp_path / "b", classes=(), numbers=("x",))))[1].markup()
    )
