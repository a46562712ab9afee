import json
import re
from dataclasses import replace

import numpy as np
import pytest

from tests.data.test_predictions import TABLE
from xtcav_ml.data.compared_predictions import Run, compare_predictions
from xtcav_ml.data.predictions import by_seed, read_rows
from xtcav_ml.science import metrics
from xtcav_ml.system.errors import UserError


def test_a_table_is_as_good_as_itself():
    found = compare_predictions([Run(name, read_rows(name, TABLE)) for name in ("x", "y", "z")])
    assert [row["accuracy"] for row in found["runs"]] == [0.5] * 3
    assert [entry["measure"] for entry in found["comparisons"]] == 2 * ["accuracy"] + 2 * [
        "mean absolute error of peak"
    ]
    assert {entry["difference"] for entry in found["comparisons"]} == {0}
    assert all(
        entry["verdict"].startswith("no significant difference between the model of x and ")
        for entry in found["comparisons"]
    )


def rows(right):
    """Return a table of predictions of a network that is right on these shots (N,), eight of which are neighbours."""
    return [
        {"run": "70", "run.index": f"{10 * (shot // 8) + shot % 8}", "actual": "a", "predicted": "a" if hit else "b"}
        for shot, hit in enumerate(right)
    ]


def group(name, accuracy, seeds=5, draw=0):
    rng = np.random.default_rng(draw)
    tables = [rows(rng.random(400) < accuracy) for _ in range(seeds)]
    return Run(name, tables[0], tables if seeds > 1 else [])


def test_settings_are_compared_over_seeds_and_shots_with_their_power():
    found = compare_predictions([group("x", 0.7), group("y", 0.8, seeds=3, draw=1)])
    assert (found["level"], [row["seeds"] for row in found["runs"]]) == ("settings", [5, 3])
    for row in found["runs"]:
        assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
        assert 0 < row["accuracy_sd"] < 0.05
    (one,) = found["comparisons"]
    assert one["better"] == "y"
    assert re.fullmatch(
        r"the settings of y are better than those of x: accuracy \+\d+\.\d points, 95 % interval \+\d\.\d to \+\d+\.\d, "
        r"p = \S+; a difference of \d\.\d points would be found with 80% power",
        one["verdict"],
    )
    assert 0 < one["of_seeds"] < one["high"] - one["low"]
    json.dumps(found, allow_nan=False)


def test_the_interval_of_an_accuracy_is_by_shots_only_if_these_are_independent():
    together = Run("x", rows(np.arange(400) < 300))
    low, high = metrics.wilson_interval(300, 400)
    for independent in (True, False):
        found = compare_predictions([replace(together, independent=independent)] * 2)["runs"][0]
        assert ((found["accuracy_low"], found["accuracy_high"]) == (low, high)) == independent
    assert found["accuracy_low"] < low - 0.1


def test_equal_settings_are_not_called_better():
    (one,) = compare_predictions([group("x", 0.7), group("y", 0.7, draw=1)])["comparisons"]
    assert one["better"] is None
    assert one["verdict"].startswith("no significant difference between the settings of x and those of y: accuracy ")


def test_one_seed_on_either_side_or_the_same_group_twice_compares_models():
    for other in (group("y", 0.2, seeds=1, draw=1), replace(group("x", 0.7), name="y", model=rows([False] * 400))):
        found = compare_predictions([group("x", 0.7), other])
        assert (found["level"], [row["seeds"] for row in found["runs"]]) == ("models", [1, 1])
        assert found["comparisons"][0]["verdict"].startswith("the model of x is better than that of y: ")


def test_a_group_that_got_more_seeds_is_the_same_settings():
    first, more = group("x", 0.7, seeds=3), group("y", 0.7, draw=1)
    assert not first.same_settings(more)
    assert replace(first, group="key").same_settings(replace(more, group="key"))
    assert compare_predictions([replace(first, group="key"), replace(more, group="key")])["level"] == "models"
    assert compare_predictions([replace(first, group="key"), replace(more, group="other")])["level"] == "settings"


def test_two_seeds_on_two_shots_cannot_tell_and_no_accuracy_differs_by_more_than_one():
    runs = [
        Run(name, tables[0], tables)
        for name, tables in (("x", [rows([0, 0]), rows([1, 1])]), ("y", [rows([1, 0]), rows([0, 1])]))
    ]
    (one,) = compare_predictions(runs)["comparisons"]
    assert "95 % interval -100.0 to +100.0, p = 1; no difference would be found with 80% power: " in one["verdict"]
    assert one["found"] > 1


def test_settings_are_compared_by_numbers_too():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=60)

    def table(error):
        numbers = zip(truth, truth + rng.normal(0, error, 60), strict=True)
        return [
            {"run": "7", "run.index": f"{i}", "actual peak": f"{a}", "predicted peak": f"{b}"}
            for i, (a, b) in enumerate(numbers)
        ]

    runs = [Run(name, tables[0], tables) for name, tables in (("x", [table(1)] * 2), ("y", [table(0.1)] * 2))]
    found = compare_predictions(runs)
    assert found["comparisons"][0]["verdict"].startswith("the settings of y are better than those of x: mean absolute")
    assert found["runs"][0]["mean_absolute_error"]["peak"] > found["runs"][1]["mean_absolute_error"]["peak"]
    assert found["runs"][0]["mean_absolute_error_sd"] == {"peak": 0}  # of one table twice


def test_shots_that_are_alike_for_long_make_settings_less_sure():
    def interval(better):
        """The width of the interval if the second settings alone are right on these shots (N,)."""

        def group(right):
            tables = [
                [{"run": "7", "run.index": f"{i}", "actual": "a", "predicted": "ba"[r]} for i, r in enumerate(right)]
            ]
            return tables * 2

        runs = [Run(name, tables[0], tables) for name, tables in (("x", group(0 * better)), ("y", group(better)))]
        (found,) = compare_predictions(runs)["comparisons"]
        return found["high"] - found["low"]

    alternating, long = np.arange(400) % 2, np.arange(400) // 20 % 2
    assert interval(long) > 3 * interval(alternating)


@pytest.mark.parametrize("learned", ["classes", "peak"])
def test_models_that_differ_in_one_stretch_of_time_are_the_same_unless_shots_are_independent(learned):
    def table(values):
        names = ("actual", "predicted") if learned == "classes" else ("actual peak", "predicted peak")
        truth = ["0"] * 400 if learned == "classes" else [f"{i % 2}" for i in range(400)]
        cells = zip(truth, [f"{value:g}" for value in values], strict=True)
        return [{"run": "7", "run.index": f"{i}"} | dict(zip(names, pair, strict=True)) for i, pair in enumerate(cells)]

    stretch, scattered = np.arange(400) < 40, np.arange(400) % 10 == 0
    for wrong, independent, better in ((stretch, True, "x"), (stretch, False, None), (scattered, False, "x")):
        shuffled = np.random.default_rng(0).permutation(400)  # tables are in no order
        tables = [[table(values)[i] for i in shuffled] for values in (np.zeros(400), 5.0 * wrong)]
        runs = [Run(name, rows, independent=independent) for name, rows in zip("xy", tables, strict=True)]
        found = compare_predictions(runs)
        assert found["independent"] == independent
        assert found["comparisons"][0]["better"] == better
    mixed = [replace(runs[0], independent=True), runs[1]]
    assert not compare_predictions(mixed)["independent"]


def test_the_table_of_a_group_has_a_table_for_each_seed():
    columns = {"run": "1", "run.index": "2", "actual": "a", "seed 1: predicted": "a", "seed 12: predicted": "b"}
    with pytest.raises(UserError, match=r"^x: .*found foo of some seeds only.*Fix: run `make seeds`$"):
        by_seed("x", [columns | {"seed 12: foo": "1"}])
    tables = by_seed("x", [columns])
    assert tables["12"] == [{"run": "1", "run.index": "2", "actual": "a", "predicted": "b"}]
    assert (list(tables), by_seed("x", tables["1"])) == (["1", "12"], {})
