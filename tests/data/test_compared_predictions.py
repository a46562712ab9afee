from tests.data.test_predictions import TABLE
from xtcav_ml.data.compared_predictions import compare_predictions
from xtcav_ml.data.predictions import read_rows


def test_a_table_is_as_good_as_itself():
    found = compare_predictions([(name, read_rows(name, TABLE)) for name in ("x", "y", "z")])
    assert [row["accuracy"] for row in found["runs"]] == [0.5] * 3
    assert [entry["measure"] for entry in found["comparisons"]] == 2 * ["accuracy"] + 2 * [
        "mean absolute error of peak"
    ]
    assert {entry["difference"] for entry in found["comparisons"]} == {0}
    assert all(
        entry["verdict"].startswith("no significant difference between x and ") for entry in found["comparisons"]
    )
