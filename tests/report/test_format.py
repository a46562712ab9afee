import pytest

from xtcav_ml.report.format import amount, number, percent, ranges


@pytest.mark.parametrize("nothing", [None, float("nan"), float("inf")])
def test_what_was_not_measured_is_a_dash(nothing):
    assert percent(nothing) == number(nothing) == amount(None) == "–"


def test_numbers():
    assert (percent(0.83211), number(0.0123456), number(1234.5)) == ("83.2%", "0.0123", "1.23e+03")
    assert (amount(1234567), amount(12.34), amount(123.4), amount(0)) == ("1,234,567", "12.3", "123", "0")


@pytest.mark.parametrize(("epochs", "said"), [([1], "1"), ([1, 2, 3, 7, 9, 10], "1 to 3, 7, 9 to 10")])
def test_epochs_that_follow_one_another_are_a_range(epochs, said):
    assert ranges(epochs) == said
