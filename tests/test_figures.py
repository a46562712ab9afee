import re

import matplotlib as mpl
import numpy as np
import pytest

from tests.report.conftest import Reader
from xtcav_ml import figures
from xtcav_ml.science import metrics

HISTORY = [{"train_accuracy": 0.3, "val_accuracy": 0.2, "train_cross_entropy": 1.2, "val_cross_entropy": 1.3}] * 3
TRUTH = np.array([0, 0, 1, 1, 1])
PROBABILITIES = np.array([[0.9, 0.1, 0], [0.4, 0.6, 0], [0.2, 0.8, 0], [0.7, 0.3, 0], [0, 1, 0]])
CLASSES = figures.class_curves([f"class {value}" for value in range(3)], TRUTH, PROBABILITIES)


def sample(second):
    names = ("memory_mb", "cpu_time_s", "threads", "processes", "read_mb", "written_mb")
    return {"time_s": second, **dict.fromkeys(names, float(second))}


DRAWN = {
    "confusion": lambda: figures.confusion_matrix(np.array([[3, 1], [0, 0]]), ["no", "yes"], "title"),
    "curves": lambda: figures.learning_curves(HISTORY, 2, ["accuracy", "cross_entropy"]),
    "one epoch": lambda: figures.learning_curves(HISTORY[:1], 1, ["accuracy"]),
    "frames": lambda: figures.frame_sheet([("no", [(np.zeros((4, 5)), "a")]), ("yes", [])], "title"),
    "no frames": lambda: figures.frame_sheet([("no", []), ("yes", [])], "title"),
    "calibration": lambda: figures.calibration_curve(metrics.calibration(TRUTH, PROBABILITIES)),
    "curves of classes": lambda: figures.one_against_rest(CLASSES, "title"),
    "overlays": lambda: figures.overlay_sheet([("no", [(np.eye(4), np.eye(2), "a")]), ("yes", [])], "title"),
    "no overlays": lambda: figures.overlay_sheet([("no", [])], "title"),
    "search": lambda: figures.search_history([(0, 0.5, "COMPLETE"), (1, None, "PRUNED"), (2, 0.7, "COMPLETE")]),
    "usage": lambda: figures.usage([sample(0), sample(1), sample(2) | {"gpu0_memory_mb": 5.0}]),
    "importance": lambda: figures.importances({"rate": 0.8, "kernel": 0.2}),
}


DRAWN |= {
    "shares": lambda: figures.label_shares({"train": {"a": 90, "b": 10}, "test": {"a": 0, "b": 0}}),
    "gradient": lambda: figures.learning_curves([{"gradient_norm": 1.0}] * 3, 2, ["gradient_norm"]),
    "regression": lambda: figures.regression_scatter({"x": (np.array([1.0, np.nan, 3]), np.array([1.1, 2, 2.9]))}),
    "roc": lambda: figures.one_against_rest(CLASSES, panels=[figures.roc_curve]),
    "precision": lambda: figures.one_against_rest(CLASSES, panels=[figures.precision_recall_curve]),
}
RASTER = {"frames", "overlays"}
"""Frames have the colours of their pixels: they are for PNG."""


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_a_png_and_the_same_bytes_each_time_whatever_the_user_s_style(tmp_path, name):
    figures.write_png(tmp_path / "a.png", DRAWN[name]())
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "figure.facecolor": "red", "image.cmap": "jet"}):
        figures.write_png(tmp_path / "b.png", DRAWN[name]())
    content = (tmp_path / "a.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert content == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("name", [name for name in DRAWN if name not in RASTER])
def test_as_svg_it_is_the_same_text_each_time_in_the_pages_colours(name):
    svg = figures.svg(DRAWN[name](), f"shows <{name}>")
    assert svg == figures.svg(DRAWN[name](), f"shows <{name}>")
    read = Reader(svg)
    assert read.named("svg") == [{**read.named("svg")[0], "role": "img", "aria-label": f"shows <{name}>"}]
    colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg)) - {"none"}
    assert colours <= set(figures.VARIABLES.values())
    assert not re.search(r"https?:|font-family|<style|<!", svg)
    assert not [shape for shape in read.named("path") if shape.get("id", "").startswith("DejaVu")]  # text is text


NAMES = ["<b>&", r"$\nothing$ : #123456", "$a", "b_{$", "_c", "%\\"]


def named_curves():
    return [(name, *CLASSES[0][1:]) for name in NAMES]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.confusion_matrix(np.eye(len(NAMES), dtype=np.int64), NAMES),
        lambda: figures.label_shares({"train": dict.fromkeys(NAMES, 9)}),
        lambda: figures.one_against_rest(named_curves()),
        lambda: figures.regression_scatter({name: (np.arange(3.0), np.arange(3.0)) for name in NAMES}),
        lambda: figures.importances(dict.fromkeys(NAMES, 0.5)),
    ],
    ids=["confusion", "shares", "curves", "regression", "importance"],
)
def test_names_are_neither_markup_nor_mathematics_and_none_is_left_out(tmp_path, draw):
    figures.write_png(tmp_path / "a.png", draw())
    read = Reader(figures.svg(draw(), "names"))
    shown = [word.removeprefix("\u200b") for word in read.words]
    for name in NAMES:
        assert any(word == name or word.startswith((f"{name}: ", f"{name}, ")) for word in shown), name
    assert not read.named("b")


def test_two_svgs_have_no_id_in_common():
    ids = [{tag["id"] for _, tag in Reader(figures.svg(DRAWN["roc"](), text)).tags if "id" in tag} for text in "ab"]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_long_series_stay_small():
    many = np.linspace(0, 1, 100_000)
    assert len(figures.svg(figures.regression_scatter({"x": (many, many)}), "cloud")) < 300_000
    history = [{"train_accuracy": 0.5, "val_accuracy": i / 5000} for i in range(5000)]
    assert len(figures.svg(figures.learning_curves(history, 1, ["accuracy"]), "curve")) < 100_000


def test_a_class_without_shots_is_in_no_curve():
    read = Reader(figures.svg(figures.one_against_rest(CLASSES, panels=[figures.roc_curve]), "roc"))
    assert [word.partition(":")[0] for word in read.words if "area" in word] == ["class 0", "class 1"]
    assert (
        "area"
        not in Reader(
            figures.svg(figures.one_against_rest(CLASSES[2:], panels=[figures.roc_curve]), "no class has shots")
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
    assert figures.curves_of([{"val_accuracy": 1.0, "val_loss": 1.0, **extra}]) == names
