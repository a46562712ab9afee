import base64
import io

import numpy as np
from PIL import Image

from tests.report.conftest import lay_results, read
from xtcav_ml.report import frames, results

SHEETS = ["frames", "means", "mistakes", "saliency"]


def test_four_sheets_with_words_for_who_cannot_see_them(project):
    shown = read(project, *SHEETS)
    assert [section["id"] for section in shown.named("section")] == SHEETS
    assert [len(image["alt"]) > 20 for image in shown.named("img")] == [True] * 4


def test_a_sheet_that_is_not_there_is_left_out(project):
    (project / "results/plots/saliency.png").unlink()
    assert [section["id"] for section in read(project, *SHEETS).named("section")] == SHEETS[:3]


def test_a_picture_is_inside_the_page_and_keeps_its_size(project):
    pixels = np.full((30, 40, 3), 255, np.uint8)
    pixels[:15] = (200, 30, 40)
    Image.fromarray(pixels).save(project / "results/plots/frames.png")
    (image,) = read(project, "frames").named("img")
    assert (image["width"], image["height"]) == ("40", "30")
    kind, _, packed = image["src"].partition(";base64,")
    assert kind == "data:image/webp"
    with Image.open(io.BytesIO(base64.b64decode(packed))) as inside:
        seen = np.asarray(inside.convert("RGB")).astype(int)
    assert np.abs(seen[2:13, 2:38] - [200, 30, 40]).max() < 12
    assert seen[20:, 2:38].min() > 245


def test_the_most_confident_mistakes_are_listed_first(project):
    run = results.load_results(project).table
    wrong = np.array(run.columns["actual"]) != np.array(run.columns["predicted"])
    confidence = np.max([run.floats(f"probability of {name}") for name in run.classes()], axis=0)
    first = max(np.flatnonzero(wrong), key=lambda i: confidence[i])
    shown = read(project, "mistakes")
    assert f"Most confident of {wrong.sum()} mistakes" in shown.words
    rows = [word for word in shown.words if word.startswith("70, ")]
    assert rows[0] == f"70, {run.columns['run.index'][first]}"
    assert len(rows) == frames.LISTED_MISTAKES


def test_no_mistakes_and_numbers_alone_are_no_fault(tmp_path):
    assert "No test shot" in read(lay_results(tmp_path / "a", right=1.1), "mistakes").text
    shown = read(lay_results(tmp_path / "b", classes=(), numbers=("x",)), "mistakes")
    assert shown.named("img")
    assert not shown.named("table")
