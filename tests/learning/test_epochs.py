from xtcav_ml.learning import epochs


def test_best_epoch_is_the_most_accurate_then_the_surest_then_the_first():
    rows = [(0.5, 1.0), (0.7, 0.9), (0.7, 0.8), (0.7, 0.8), (0.6, 0.1)]
    assert epochs.best([{"val_accuracy": a, "val_cross_entropy": c} for a, c in rows]) == 3


def test_the_score_is_of_what_is_learned():
    row = {"val_accuracy": 0.8, "val_squared_error": 0.3, "val_loss": 0.9}
    assert epochs.score(row) == -0.9
    assert epochs.score({"val_accuracy": 0.8, "val_loss": 0.9}) == 0.8
    assert epochs.score({"val_squared_error": 0.3, "val_loss": 0.9}) == -0.3
    assert epochs.score_name(row) == "-val_loss"
    assert epochs.score_name(["val_accuracy"]) == "val_accuracy"
    assert epochs.score_name(["val_squared_error"]) == "-val_squared_error"
