import json

from tests.report.conftest import read
from xtcav_ml.report import results, training


def test_warnings_name_the_class_and_all_epochs_if_the_kept_one_or_a_later_one_has_the_sign():
    history = [{"val_predicted.a": 0.0, "val_predicted.b": float(i in (0, 1, 4))} for i in range(6)]
    (warning,) = training.warnings(history, ["a", "b"], best=5)
    assert warning.startswith("Epoch 1 to 2, 5: nearly all validation shots predicted as “b”")
    assert training.warnings(history, ["a", "b"], best=6) == []


def test_the_kept_epoch_is_marked_and_the_loss_is_drawn_only_where_it_is_more_than_another_curve(project):
    shown = read(project, "training")
    titles = [svg["aria-label"].partition(",")[0] for svg in shown.named("svg")]
    assert titles == ["Accuracy", "Cross-entropy", "Learning rate", "Gradient norm (last step)"]
    best = results.load_results(project).metrics["best_epoch"]
    assert shown.words.count(f"kept: epoch {best}") == 4
    assert f"epoch {best} was kept: it had the lowest mean val_cross_entropy of 5 epochs." in shown.text
    path = project / "results/history.jsonl"
    rows = [json.loads(line) | {"regularization": 0.1} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert any(svg["aria-label"].startswith("Loss") for svg in read(project, "training").named("svg"))


def test_without_a_history_the_command_that_writes_it_is_named(project):
    (project / "results/history.jsonl").unlink()
    assert "make repro" in read(project, "training").text


def test_a_history_that_is_shorter_than_the_evaluated_epoch_is_not_drawn(project):
    lines = (project / "results/history.jsonl").read_text().splitlines(keepends=True)
    (project / "results/history.jsonl").write_text("".join(lines[:2]))
    shown = read(project, "training")
    assert "of a later training" in shown.text
    assert not shown.named("svg")
