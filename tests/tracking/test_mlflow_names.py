import pytest

from xtcav_ml.tracking import mlflow_names


@pytest.mark.parametrize(
    ("name", "in_mlflow"),
    [
        ("val_accuracy", "accuracy/validation"),
        ("train_cross_entropy", "cross_entropy/train"),
        ("val_predicted_2", "predicted/2"),
        ("val_confusion/0_1", "validation_confusion/0_1"),
        ("accuracy", "accuracy/test"),
        ("accuracy_low", "test/accuracy_low"),
        ("regression.pulse.energy.rms_error", "test/pulse.energy_rms_error"),
        ("learning_rate", "learning_rate"),
    ],
)
def test_earlier_versions_named_metrics_by_section(name, in_mlflow):
    assert mlflow_names.earlier_name(name) == in_mlflow
    assert mlflow_names.storable_name(name) == name


@pytest.mark.parametrize("label", ["<1", "a//b", "..", "/", ".", "t0 (hot)", "", "übrig"])
def test_mlflow_takes_the_names_of_all_classes(label):
    from mlflow.utils.validation import _validate_metric_name

    _validate_metric_name(mlflow_names.storable_name(f"classes.{label}.recall"))


def test_names_that_differ_in_what_mlflow_refuses_stay_apart():
    assert mlflow_names.storable({"a/<1": 1, "a/>1": 2, "b": 3}) == {"a/_1": 1, "a/_1_": 2, "b": 3}
