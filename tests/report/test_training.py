from tests.report.test_markup import Reader
from xtcav_ml.report import results, training


def test_warnings_name_the_class_and_all_epochs():
    history = [{"val_predicted_0": 0.0, "val_predicted_1": float(i in (0, 1, 4))} for i in range(6)]
    (said,) = training.warnings(history, ["a", "b"])
    assert said.startswith("Epoch 1 to 2, 5: nearly all validation shots were predicted as “b”")


def test_the_kept_epoch_is_marked_and_the_loss_is_drawn_only_where_it_is_more_than_another_curve(project):
    found = results.load(project)
    read = Reader(training.training(found).markup())
    titles = [svg["aria-label"].partition(":")[0] for svg in read.named("svg") if svg.get("role") == "img"]
    assert titles == ["Accuracy", "Learning rate", "Length of the last gradient"]
    assert read.words.count("kept: 6") == 3
    for row in found.history:
        row["regularization"] = 0.1
    read = Reader(training.training(found).markup())
    assert any(svg.get("aria-label", "").startswith("Loss") for svg in read.named("svg"))


def test_without_a_history_it_says_what_brings_it(project):
    (project / "results/history.jsonl").unlink()
    assert "make repro" in training.training(results.load(project)).markup()


def test_a_history_that_is_shorter_than_the_evaluated_epoch_is_not_drawn(project):
    lines = (project / "results/history.jsonl").read_text().splitlines(keepends=True)
    (project / "results/history.jsonl").write_text("".join(lines[:2]))
    assert "metrics.json" in training.training(results.load(project)).markup()
