import re

import matplotlib as mpl
import numpy as np
import pytest

from tests.figures.searches import KERNEL, POOL, made_up, with_objectives, without_second_block
from tests.report.conftest import Reader
from xtcav_ml.figures import drawing, frames, quality, search, training
from xtcav_ml.figures.frames import Grid, Picture
from xtcav_ml.science import metrics

GRID = Grid(2.0, 0.2, True, "signal, ADU")
HISTORY = [{"train_accuracy": 0.3, "val_accuracy": 0.2, "train_cross_entropy": 1.2, "val_cross_entropy": 1.3}] * 3
TRUTH = np.array([0, 0, 1, 1, 1])
PROBABILITIES = np.array([[0.9, 0.1, 0], [0.4, 0.6, 0], [0.2, 0.8, 0], [0.7, 0.3, 0], [0, 1, 0]])
CLASSES = quality.class_curves([f"class {value}" for value in range(3)], TRUTH, PROBABILITIES)


def sample(second):
    names = ("memory_mb", "cpu_time_s", "threads", "processes", "read_mb", "written_mb")
    return {"time_s": second, **dict.fromkeys(names, float(second))}


DRAWN = {
    "confusion": lambda: quality.confusion_matrix(np.array([[3, 1], [0, 0]]), ["no", "yes"], "title"),
    "curves": lambda: training.learning_curves(HISTORY, 2, ["accuracy", "cross_entropy"]),
    "one epoch": lambda: training.learning_curves(HISTORY[:1], 1, ["accuracy"]),
    "frames": lambda: frames.sheet([("no", [Picture(np.zeros((4, 5)), "a", GRID)]), ("yes", [])], "title"),
    "no frames": lambda: frames.sheet([("no", []), ("yes", [])], "title"),
    "calibration": lambda: quality.calibration_curve(metrics.calibration(TRUTH, PROBABILITIES)),
    "curves of classes": lambda: quality.one_against_rest(CLASSES, "title"),
    "overlays": lambda: frames.sheet([("no", [Picture(np.eye(4), "a", GRID, np.eye(4))]), ("yes", [])], "title"),
    "usage": lambda: training.usage([sample(0), sample(1), sample(2) | {"gpu0_memory_mb": 5.0}]),
    "importance": lambda: search.importances({"rate": 0.8, "kernel": 0.2}, 12),
    "history": lambda: search.history(made_up()),
    "rungs": lambda: search.rungs(made_up()),
    "slices": lambda: search.slices(made_up()),
    "parallel": lambda: search.parallel(without_second_block(made_up())),
    "by two": lambda: search.by_two(made_up(), KERNEL, POOL),
    "repeats": lambda: search.repeats(made_up()),
    "pareto": lambda: search.pareto(with_objectives(made_up())),
}


DRAWN |= {
    "shares": lambda: quality.label_shares({"train": {"a": 90, "b": 10}, "test": {"a": 0, "b": 0}}),
    "gradient": lambda: training.learning_curves([{"gradient_norm": 1.0}] * 3, 2, ["gradient_norm"]),
    "regression": lambda: quality.regression_scatter({"x": (np.array([1.0, np.nan, 3]), np.array([1.1, 2, 2.9]))}),
    "roc": lambda: quality.one_against_rest(CLASSES, panels=[quality.roc_curve]),
    "precision": lambda: quality.one_against_rest(CLASSES, panels=[quality.precision_recall_curve]),
}
RASTER = {"frames", "overlays"}
"""Frames have the colours of their pixels: they are for PNG."""


@pytest.fixture
def coarse(monkeypatch):
    """Draw with few pixels, which take most of the time."""
    monkeypatch.setitem(drawing.STYLE, "savefig.dpi", 30)


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_a_png_and_the_same_bytes_each_time_whatever_the_user_s_style(tmp_path, coarse, name):
    drawing.write_png(tmp_path / "a.png", DRAWN[name]())
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "figure.facecolor": "red", "image.cmap": "jet"}):
        drawing.write_png(tmp_path / "b.png", DRAWN[name]())
    content = (tmp_path / "a.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert content == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("name", [name for name in DRAWN if name not in RASTER])
def test_as_svg_it_is_text_in_the_pages_colours(name):
    svg = drawing.svg(DRAWN[name](), f"shows <{name}>")
    read = Reader(svg)
    assert read.named("svg") == [{**read.named("svg")[0], "role": "img", "aria-label": f"shows <{name}>"}]
    colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg)) - {"none"}
    assert colours <= set(drawing.VARIABLES.values())
    assert not re.search(r"https?:|font-family|<style|<!", svg)
    assert not [shape for shape in read.named("path") if shape.get("id", "").startswith("DejaVu")]  # text is text


NAMES = ["<b>&", r"$\nothing$ : #123456", "$a", "b_{$", "_c", "%\\"]


def named_curves():
    return [(name, *CLASSES[0][1:]) for name in NAMES]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: quality.confusion_matrix(np.eye(len(NAMES), dtype=np.int64), NAMES),
        lambda: quality.label_shares({"train": dict.fromkeys(NAMES, 9)}),
        lambda: quality.one_against_rest(named_curves()),
        lambda: quality.regression_scatter({name: (np.arange(3.0), np.arange(3.0)) for name in NAMES}),
        lambda: search.importances(dict.fromkeys(NAMES, 0.5), 12),
    ],
    ids=["confusion", "shares", "curves", "regression", "importance"],
)
def test_names_are_neither_markup_nor_mathematics_and_none_is_left_out(tmp_path, coarse, draw):
    drawing.write_png(tmp_path / "a.png", draw())
    read = Reader(drawing.svg(draw(), "names"))
    shown = [word.removeprefix("\u200b") for word in read.words]
    for name in NAMES:
        assert any(word == name or word.startswith((f"{name}: ", f"{name}, ")) for word in shown), name
    assert not read.named("b")


SOME = {"confusion", "curves", "history", "roc", "regression", "pareto"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.thorough] * (name not in SOME)) for name in DRAWN if name not in RASTER],
)
def test_an_svg_is_the_same_text_each_time(name):
    assert drawing.svg(DRAWN[name](), "same") == drawing.svg(DRAWN[name](), "same")


def test_two_svgs_have_no_id_in_common():
    ids = [{tag["id"] for _, tag in Reader(drawing.svg(DRAWN["roc"](), text)).tags if "id" in tag} for text in "ab"]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_long_series_stay_small():
    many = np.linspace(0, 1, 100_000)
    assert len(drawing.svg(quality.regression_scatter({"x": (many, many)}), "cloud")) < 300_000
    history = [{"train_accuracy": 0.5, "val_accuracy": i / 5000} for i in range(5000)]
    assert len(drawing.svg(training.learning_curves(history, 1, ["accuracy"]), "curve")) < 100_000


def test_a_class_without_shots_is_in_no_curve():
    read = Reader(drawing.svg(quality.one_against_rest(CLASSES, panels=[quality.roc_curve]), "roc"))
    assert [word.partition(":")[0] for word in read.words if "area" in word] == ["class 0", "class 1"]
    assert (
        "area"
        not in Reader(
            drawing.svg(quality.one_against_rest(CLASSES[2:], panels=[quality.roc_curve]), "no class has shots")
        ).words
    )


@pytest.mark.parametrize(
    ("extra", "names"),
    [
        ({}, ["accuracy"]),
        ({"regularization": 0.1}, ["accuracy", "loss"]),
        ({"val_cross_entropy": 1.0, "val_squared_error": 1.0}, ["accuracy", "cross_entropy", "squared_error", "loss"]),
        ({"gradient_norm": 1.0, "learning_rate": 0.1}, ["accuracy", "learning_rate", "gradient_norm"]),
    ],
)
def test_the_loss_is_a_curve_only_where_it_is_more_than_another_one(extra, names):
    assert training.curves_of([{"val_accuracy": 1.0, "val_loss": 1.0, **extra}]) == names
