import pytest

from xtcav_ml.tracking import mlflow_names


@pytest.mark.parametrize(
    ("name", "in_mlflow"),
    [
        ("val_accuracy", "accuracy/validation"),
        ("train_cross_entropy", "cross_entropy/train"),
        ("val_predicted_2", "predicted/2"),
        ("val_confusion/0_1", "validation_confusion/0_1"),
        ("test_accuracy", "accuracy/test"),
        ("test_accuracy_low", "test/accuracy_low"),
        ("seconds/read", "system/seconds_read"),
        ("usage/max_memory_mb", "system/max_memory_mb"),
        ("learning_rate", "learning_rate"),
    ],
)
def test_metrics_are_named_by_section(name, in_mlflow):
    assert mlflow_names.metric_name(name) == in_mlflow
    assert mlflow_names.of_test(in_mlflow) == name.startswith("test_")


def test_accuracy_is_the_first_section():
    names = ["train_loss", "val_accuracy", "usage/run_time_s", "val_confusion/0_0", "test_brier", "learning_rate"]
    assert min(name for name in map(mlflow_names.metric_name, names) if "/" in name) == "accuracy/validation"
