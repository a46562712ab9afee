import pytest

from xtcav_ml.science.warning_signs import warning_signs


@pytest.mark.parametrize("share", [0.5, 0.985, 0.99, 1.0])
@pytest.mark.parametrize("norm", [1.0, 2e-7, 0.9e-7, 0.0])
def test_a_network_that_predicts_one_class_and_a_gradient_of_nothing_are_signs(share, norm):
    signs = warning_signs({"val_predicted.a": 0.0, "val_predicted.b": share, "gradient_norm": norm}, ["a", "b"])
    assert [sign for sign in signs if "“b”" in sign] == signs[: share >= 0.99]
    assert [sign for sign in signs if "vanishing gradient" in sign] == signs[share >= 0.99 :]
    assert len(signs) == (share >= 0.99) + (norm < 1e-7)


def test_a_regression_has_no_classes_to_collapse_to():
    assert warning_signs({"val_squared_error": 1.0}, []) == []
