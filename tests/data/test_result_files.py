import json

import pytest

from xtcav_ml.data import result_files
from xtcav_ml.data.result_files import Address, Best, Checked, Group, Usage
from xtcav_ml.system.errors import UserError

SHARES = {"precision": 0.5, "recall": None, "shots": 3}
CLASSES = {
    "best_epoch": 2,
    "shots": 5,
    "accuracy": 0.9,
    "accuracy_low": 0.8,
    "accuracy_high": 1.0,
    "largest_class": 0.5,
    "z_score": 3.0,
    "confusion": [[1, 0], [0, 4]],
    "classes": {"no": SHARES},
}
NUMBERS = {"best_epoch": 2, "shots": 5, "regression": {"gas": {"shots": 5, "rms_error": 0.1, "spread": None}}}
BEST = {"study": "a", "trial": 1, "score": 0.5, "epochs": 3, "params": {}, "train": {}}
CHECKED = {"files": {"a.h5": 1}, "bad_files": [], "shots": 1, "shots_by_run": {}, "shots_with_number": {}}
ADDRESS = {"run_id": "a", "experiment_id": "1", "store": "sqlite"}


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "results.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


@pytest.mark.parametrize("content", [CLASSES, NUMBERS, CLASSES | NUMBERS, NUMBERS | {"of a later version": 1}])
def test_metrics_are_returned_with_all_that_they_hold(file, content):
    assert result_files.read_metrics(file(content)) == content


@pytest.mark.parametrize("content", [CLASSES, NUMBERS])
@pytest.mark.parametrize("value", ["1", True, None, [], {}, 1.5])
def test_a_number_of_another_type_is_refused_and_named(file, content, value):
    with pytest.raises(UserError, match=r"results\.json: .*shots: "):
        result_files.read_metrics(file(content | {"shots": value}))


@pytest.mark.parametrize("name", CLASSES)
def test_metrics_of_classes_are_whole(file, name):
    content = {key: value for key, value in CLASSES.items() if key != name}
    with pytest.raises(UserError, match=f"{name}: "):
        result_files.read_metrics(file(content))


@pytest.mark.parametrize("learned", ["confusion", "classes", "accuracy"])
def test_metrics_of_numbers_with_one_of_classes_need_them_all(file, learned):
    with pytest.raises(UserError):
        result_files.read_metrics(file(NUMBERS | {learned: CLASSES[learned]}))


def test_metrics_of_nothing_are_refused(file):
    with pytest.raises(UserError, match="accuracy"):
        result_files.read_metrics(file({"best_epoch": 2, "shots": 5}))


KINDS = [(Best, BEST, "trial", "1"), (Checked, CHECKED, "shots", 1.0), (Address, ADDRESS, "run_id", 5)]
MEAN, MEMBER = {"mean": 0.5, "sd": 0.1, "low": 0.4, "high": 0.6}, {"best_epoch": 2, "accuracy": 0.5}
GROUP = {"group": "a", "shots": 5, "seeds": {"1": MEMBER, "2": MEMBER}, "mean": {"accuracy": MEAN}}
KINDS += [(Usage, {"seconds": 1.0}, "seconds", "1")]


@pytest.mark.parametrize(("kind", "content", "name", "wrong"), KINDS)
def test_each_file_has_its_own_fields_of_exactly_their_types(file, kind, content, name, wrong):
    assert result_files.read(file(content), kind) == content
    with pytest.raises(UserError, match=rf"{name}: .*Fix: do this$"):
        result_files.read(file(content | {name: wrong}), kind, cure="do this")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("mean", {"accuracy": MEAN | {"sd": None}}),
        ("seeds", {}),
        ("seeds", {"1": MEMBER}),
        ("seeds", {"1": MEMBER, "abc": MEMBER}),
        ("seeds", {"1": MEMBER, "2": {"accuracy": 0.5}}),
        ("seeds", {"1": MEMBER, "2": 0.5}),
    ],
)
def test_a_group_has_two_seeds_or_more_each_with_its_epoch_and_their_spread(file, name, wrong):
    assert result_files.read(file(GROUP), Group) == GROUP
    with pytest.raises(UserError, match=rf"{name}.*Fix: do this$"):
        result_files.read(file(GROUP | {name: wrong}), Group, cure="do this")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "[" * 100_000, '{"shots": NaN', "\0"])
def test_what_is_no_such_json_is_one_line(file, content):
    with pytest.raises(UserError, match="Fix: remove it") as error:
        result_files.read(file(content), Best)
    assert "\n" not in str(error.value)


def test_a_file_that_need_not_be_there(tmp_path, file):
    assert result_files.read_if_there(tmp_path / "none.json", Usage) == {}
    with pytest.raises(UserError):
        result_files.read_if_there(file("{"), Usage)
    with pytest.raises(UserError):
        result_files.read(tmp_path / "none.json", Usage)
