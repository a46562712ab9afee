import math

import pytest

from xtcav_ml.config.paths import MODEL
from xtcav_ml.lineage.dvc_lock import Stage
from xtcav_ml.lineage.environment import CLASS
from xtcav_ml.tools.reproduction import comparison
from xtcav_ml.tools.reproduction.comparison import Comparison

A, B, D = (letter * 32 for letter in "abd")


def lock(model=B, stale=A):
    return {
        "record": Stage(deps={"metrics.json": stale}),
        "evaluate": Stage(deps={"model": stale}, outs={"metrics.json": D}),
        "train": Stage(deps={"raw": f"{A}.dir"}, outs={"model": model}),
    }


def test_files_in_the_order_of_the_stages_by_the_hash_of_what_was_written():
    rows = comparison.compare_files(lock(), lock(stale=D))
    assert rows == [
        Comparison("raw", "a" * 12, "a" * 12, True),
        Comparison("model", "b" * 12, "b" * 12, True),
        Comparison("metrics.json", "d" * 12, "d" * 12, True),
    ]
    assert [row.name for row in comparison.compare_files(lock(), lock(model=A)) if not row.same] == ["model"]


def test_hashes_count_whole():
    (row,) = [row for row in comparison.compare_files(lock(), lock(model=B[:-1] + "0")) if row.name == "model"]
    assert not row.same


def test_a_file_that_is_not_there_differs():
    rows = comparison.compare_files(lock(), {})
    assert {(row.now, row.same) for row in rows} == {("none", False)}


def test_metrics_one_by_one_those_inside_others_as_minor():
    rows = comparison.compare_metrics(
        {"accuracy": 0.5, "confusion": [[1, 2]], "gone": 1}, {"accuracy": 0.5, "confusion": [[1, 3]]}
    )
    assert rows == [
        Comparison("accuracy", "0.5", "0.5", True),
        Comparison("confusion.0.0", "1", "1", True, minor=True),
        Comparison("confusion.0.1", "2", "3", False, minor=True),
        Comparison("gone", "1", "none", False),
    ]


def test_the_last_bit_counts_and_is_shown():
    one, next_one = 0.1, math.nextafter(0.1, 1)
    (row,) = comparison.compare_metrics({"loss": one}, {"loss": next_one})
    assert not row.same
    assert row.then != row.now


def test_an_epoch_that_differs_is_the_first_that_does():
    then = {"loss": {1: 0.3, 2: 0.2, 3: math.nan}, "a.0": {1: 1.0}}
    assert comparison.compare_curves(then, then) == [
        Comparison("loss, epoch 3", "nan", "nan", True),
        Comparison("a.0, epoch 1", "1", "1", True, minor=True),
    ]
    now = {"loss": {1: 0.3, 2: 0.25}}
    assert comparison.compare_curves(then, now)[0] == Comparison("loss, epoch 2", "0.2", "0.25", False)


@pytest.mark.parametrize("then", [{}, {"loss": {}}])
def test_a_curve_on_one_side_only_differs(then):
    assert comparison.compare_curves(then, {"loss": {1: 0.3}}) == [Comparison("loss, epoch 1", "none", "0.3", False)]


def test_only_what_differs_of_the_environment():
    rows = comparison.compare_environments({"numpy": "1", "keras": "3"}, {"numpy": "2", "keras": "3", "gpu": "one"})
    assert rows == [Comparison("numpy", "1", "2", False), Comparison("gpu", "none", "one", False)]


def test_another_class_of_processor_has_a_verdict_of_its_own():
    then, now = {"cpu": "one", CLASS: "AVX2"}, {"cpu": "other", CLASS: "AVX-512"}
    words = comparison.other_class(then, now)
    assert words == "AVX2 in the run, AVX-512 here"
    assert comparison.other_class(then | {CLASS: "AVX-512"}, now) is None
    assert comparison.other_class({"cpu": "one"}, now) is None  # of an earlier version
    assert comparison.other_class(then, {"cpu": "other"}) is None
    run = {"accuracy": 0.8, "accuracy_low": 0.75, "accuracy_high": 0.85}
    verdict = comparison.on_another_class(words, run, {"accuracy": 0.83})
    assert "another class of processor can (AVX2 in the run" in verdict
    assert "accuracy 80.0% in the run, 83.0% here, inside its interval, 75.0% to 85.0%" in verdict
    assert "outside its interval" in comparison.on_another_class(words, run, {"accuracy": 0.9})
    assert "accuracy" not in comparison.on_another_class(words, {}, {"error": 1.0})
    seeds = {"accuracy": 0.8, "accuracy_sd": 0.01, "seeds": 5.0}  # of Student's t with four degrees of freedom: 2.776
    half = 100 * 2.776 * 0.01 * math.sqrt(1 + 1 / 5)
    verdict = comparison.on_another_class(words, run, {"accuracy": 0.831}, seeds, (37, 1599))
    assert f"outside what its group of 5 seeds gives, {80 - half:.1f}% to {80 + half:.1f}%" in verdict
    assert verdict.endswith("; 37 of 1,599 predictions differ")
    assert "inside what" in comparison.on_another_class(words, run, {"accuracy": 0.83}, seeds)


def test_predictions_that_differ_are_counted_shot_by_shot():
    def table(*said):
        return "run,run.index,predicted\n" + "".join(f"70,{i},{one}\n" for i, one in said)

    then, now = table((1, "a"), (2, "b"), (3, "b")), table((3, "a"), (2, "b"), (1, "a"))
    assert comparison.changed_predictions(then, now) == (1, 3)
    assert comparison.changed_predictions("", now) is None  # of an earlier version
    numbers = "run,run.index,predicted x\n70,1,0.5\n"
    assert comparison.changed_predictions(numbers, numbers) is None


def test_only_weights_differ_if_what_prepare_read_and_wrote_is_the_same_and_the_model_is_not():
    def stages(frames, model):
        return {"prepare": Stage(deps={"raw": A}, outs={"train.h5": frames}), "train": Stage(outs={str(MODEL): model})}

    for now, only in ((stages(B, A), True), (stages(B, B), False), (stages(D, A), False)):
        assert comparison.only_weights_differ(comparison.compare_files(stages(B, B), now), now) is only
    assert not comparison.only_weights_differ([], {})
