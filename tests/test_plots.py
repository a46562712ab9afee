import numpy as np
import pytest

from xtcav_ml import plots

HISTORY = [{"train_accuracy": 0.3, "val_accuracy": 0.2, "train_cross_entropy": 1.2, "val_cross_entropy": 1.3}] * 3
DRAWN = {
    "confusion": lambda path: plots.confusion_matrix(path, np.array([[3, 1], [0, 0]]), ["no", "yes"], "title"),
    "curves": lambda path: plots.learning_curves(path, HISTORY, 2),
    "one epoch": lambda path: plots.learning_curves(path, HISTORY[:1], 1),
    "frames": lambda path: plots.frame_sheet(path, [("no", [(np.zeros((4, 5)), "a")]), ("yes", [])], "title"),
    "search": lambda path: plots.search_history(
        path, [(0, 0.5, "COMPLETE"), (1, None, "PRUNED"), (2, 0.7, "COMPLETE")]
    ),
    "importance": lambda path: plots.importances(path, {"rate": 0.8, "kernel": 0.2}),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_a_png_and_the_same_bytes_each_time(tmp_path, name):
    for file in ("a.png", "b.png"):
        DRAWN[name](tmp_path / file)
    content = (tmp_path / "a.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert content == (tmp_path / "b.png").read_bytes()
