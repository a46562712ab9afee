import numpy as np
import pytest

from xtcav_ml import figures
from xtcav_ml.science import metrics

HISTORY = [{"train_accuracy": 0.3, "val_accuracy": 0.2, "train_cross_entropy": 1.2, "val_cross_entropy": 1.3}] * 3
TRUTH = np.array([0, 0, 1, 1, 1])
PROBABILITIES = np.array([[0.9, 0.1, 0], [0.4, 0.6, 0], [0.2, 0.8, 0], [0.7, 0.3, 0], [0, 1, 0]])


def curves(value):
    pair = (value == TRUTH, PROBABILITIES[:, value])
    return f"class {value}", metrics.roc(*pair), metrics.precision_recall(*pair)


def sample(second):
    names = ("memory_mb", "cpu_time_s", "threads", "processes", "read_mb", "written_mb")
    return {"time_s": second, **dict.fromkeys(names, float(second))}


DRAWN = {
    "confusion": lambda path: figures.confusion_matrix(path, np.array([[3, 1], [0, 0]]), ["no", "yes"], "title"),
    "curves": lambda path: figures.learning_curves(path, HISTORY, 2),
    "one epoch": lambda path: figures.learning_curves(path, HISTORY[:1], 1),
    "frames": lambda path: figures.frame_sheet(path, [("no", [(np.zeros((4, 5)), "a")]), ("yes", [])], "title"),
    "no frames": lambda path: figures.frame_sheet(path, [("no", []), ("yes", [])], "title"),
    "calibration": lambda path: figures.calibration(path, metrics.calibration(TRUTH, PROBABILITIES), "title"),
    "curves of classes": lambda path: figures.one_against_rest(path, [curves(value) for value in range(3)], "title"),
    "overlays": lambda path: figures.overlay_sheet(path, [("no", [(np.eye(4), np.eye(2), "a")]), ("yes", [])], "title"),
    "no overlays": lambda path: figures.overlay_sheet(path, [("no", [])], "title"),
    "search": lambda path: figures.search_history(
        path, [(0, 0.5, "COMPLETE"), (1, None, "PRUNED"), (2, 0.7, "COMPLETE")]
    ),
    "usage": lambda path: figures.usage(path, [sample(0), sample(1), sample(2) | {"gpu0_memory_mb": 5.0}]),
    "importance": lambda path: figures.importances(path, {"rate": 0.8, "kernel": 0.2}),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_a_png_and_the_same_bytes_each_time(tmp_path, name):
    for file in ("a.png", "b.png"):
        DRAWN[name](tmp_path / file)
    content = (tmp_path / "a.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert content == (tmp_path / "b.png").read_bytes()
