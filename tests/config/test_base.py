import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests.conftest import ROOT
from xtcav_ml.config import base, params_file
from xtcav_ml.config.train import TrainParams
from xtcav_ml.system.errors import UserError

TREE = base.read_tree(ROOT / "params.yaml")


def write(path, tree):
    YAML(typ="safe", pure=True).dump(tree, path)
    return path


def changed(path, dotted, value):
    tree = copy.deepcopy(TREE)
    *parents, last = dotted.split(".")
    place = tree
    for part in parents:
        place = place[int(part) if part.isdigit() else part]
    place[last] = value
    return write(path, tree)


def test_shipped_file_is_valid_and_scientific_notation_is_a_number(tmp_path, params):
    assert params.train.optimizer.learning_rate == TREE["train"]["optimizer"]["learning_rate"]
    text = (ROOT / "params.yaml").read_text().replace("learning_rate: 0.02", "learning_rate: 1e-3")
    path = tmp_path / "params.yaml"
    path.write_text(text)
    assert params_file.load_params(path).train.optimizer.learning_rate == 0.001


@pytest.mark.parametrize(
    ("dotted", "value", "said"),
    [
        (
            "train.optimizer.learning_rat",
            0.1,
            "train.optimizer.learning_rat: unknown key",
        ),
        ("trian", {}, "trian: unknown key"),
        ("train.model.blocks.0.kernal", 3, "train.model.blocks.0.kernal: unknown key"),
        ("train.model.blocks.1.stride", 7, "train.model.blocks.1: stride: the convolution leaves out pixels (found 7"),
        (
            "train.processes",
            5,
            "train: batch_size: cannot be shared evenly (found 32, expected a multiple of processes = 5). Fix: set it to 30 ",
        ),
        (
            "train.optimizer.momentum",
            1.0,
            "train.optimizer.momentum: invalid value (found 1.0, expected it to be less than ",
        ),
        ("train.epochs", "many", "train.epochs: invalid value (found 'many', expected it to be a whole number)"),
        ("train.epochs", 2.5, "train.epochs: invalid value (found 2.5, expected it to be a whole number)"),
        ("train.epochs", True, "train.epochs: invalid value (found True, "),
        ("train.model.l2", float("nan"), "train.model.l2: invalid value (found nan, "),
        ("prepare.images", [{"step": "blur"}], "prepare.images.0"),
        (
            "prepare.images",
            [{"step": "log"}, {"step": "subtract_dark"}],
            "prepare: images: subtract_dark and mend_hot_pixels need the raw frame (found log, ",
        ),
        (
            "prepare.images",
            [{"step": "subtract_dark"}] * 2,
            "prepare: images: a step is repeated (found subtract_dark, subtract_dark, ",
        ),
        (
            "prepare.pixels.quantum",
            None,
            "prepare.pixels: quantum does not fit dtype int16 (found None, expected a number)",
        ),
        (
            "prepare.pixels.dtype",
            "float16",
            "prepare.pixels: quantum does not fit dtype float16 (found 0.0005, expected null)",
        ),
        ("prepare.features", ["acq.peaksLabel"], "(found 'acq.peaksLabel' twice, expected once)"),
        ("prepare.features", ["xtcavimg"], "(found 'xtcavimg', expected "),
        ("prepare.include", {"xtcavimg": 1}, "(found 'xtcavimg', expected "),
        ("prepare.label", None, "prepare: label, regression: both are empty"),
        ("prepare.classes", ["one"], "prepare: classes: too few names (found ['one'], "),
        ("prepare.split.by", "shot", "prepare.split.by"),
        (
            "prepare.images",
            [{"step": "roi", "rows": [9, 2], "columns": [0, 5]}],
            "rows: first is not below last (found 9, expected < 2)",
        ),
        ("prepare.split.test", 0.5, "prepare.split: train + validation + test is not 1 (found 0.99, expected 1)"),
        ("prepare.split.gap", 25, "prepare.split: gap is not below block (found 25, expected < 10)"),
        ("prepare.images", [{"step": "subtract_dark"}], "prepare: images: subtract_dark needs dark_run (found null, "),
        ("tune.study", "../escape", "tune.study: invalid value (found '../escape', "),
        ("tune.space", {"train.optimizer.speed": {"low": 1, "high": 2}}, "train.optimizer.speed: unknown key"),
        (
            "tune.space",
            {"train.optimizer.momentum": {"low": 0.5, "high": 1.5}},
            "momentum: invalid value (found 1.5, ",
        ),
        ("tune.space", {"train.epochs": {"low": 9, "high": 2}}, "low is not below high (found 9, expected < 2)"),
    ],
)
def test_a_wrong_value_is_one_line_with_key_rule_and_value(tmp_path, dotted, value, said):
    with pytest.raises(UserError) as error:
        params_file.load_params(changed(tmp_path / "params.yaml", dotted, value))
    assert said in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "params.yaml"))
    assert "\n" not in str(error.value)
    assert ". Fix: " in str(error.value)


def test_all_problems_are_told_at_once(tmp_path):
    path = changed(tmp_path / "params.yaml", "train.epochs", 0)
    tree = YAML(typ="safe", pure=True).load(path.read_text())
    tree["tune"]["trials"] = 0
    del tree["data"]["raw"]
    with pytest.raises(UserError) as error:
        params_file.load_params(write(tmp_path / "other.yaml", tree))
    for key in ("train.epochs", "tune.trials", "data.raw"):
        assert key in str(error.value)


@pytest.mark.parametrize("text", ["", "- a\n", "a: [1\n", "data: {raw: \x00}\n"])
def test_what_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"params\.yaml"):
        base.read_tree(path)


def test_missing_file_and_section_name_the_cure(tmp_path):
    with pytest.raises(UserError, match=r"params\.yaml: not readable .* Fix: .*project's folder"):
        base.read_tree(tmp_path / "params.yaml")
    tree = {name: section for name, section in TREE.items() if name != "train"}
    with pytest.raises(UserError, match=r"train: missing .*\. Fix: .*git checkout"):
        base.load_section("train", TrainParams, write(tmp_path / "params.yaml", tree))


def leaves(value, prefix=()):
    if isinstance(value, dict) and value:
        return [leaf for key, item in value.items() for leaf in leaves(item, (*prefix, key))]
    return [prefix]


@given(st.sampled_from(leaves(TREE)))
def test_a_key_may_be_neither_missing_nor_misspelt(key):
    for misspelt in (None, f"{key[-1]}x"):
        tree = copy.deepcopy(TREE)
        place = tree
        for part in key[:-1]:
            place = place[part]
        value = place.pop(key[-1])
        if misspelt:
            place[misspelt] = value
        section = key[0]
        if len(key) == 1 or key[:2] in {("prepare", "include"), ("prepare", "exclude"), ("tune", "space")}:
            continue  # the names in these are the user's own
        new = {
            ("train", "optimizer", "schedule"),
            *(("tune", name) for name in ("sampler", "rungs", "best", "seeds", "objectives")),
        }
        if (key in new or section == "compare") and not misspelt:
            continue  # the notes' experiments leave the first out, and params.yaml of before there were the others
        kind = params_file.Params.model_fields[section].annotation
        with pytest.raises(UserError):
            base.validate_section(tree[section], kind, section)


def test_overridden_changes_one_value_and_checks_it(params):
    changes = {"train.model.blocks.1.kernel": 3, "train.optimizer.momentum": 0.5}
    new = base.overridden(params.train, "train", changes)
    assert (new.model.blocks[1].kernel, new.optimizer.momentum) == (3, 0.5)
    assert new.model.blocks[0] == params.train.model.blocks[0]
    off = {"train.optimizer.clip_norm": 1.0, "train.stop_after": 3, "train.model.blocks.0.batch_norm": True}
    new = base.overridden(params.train, "train", off)  # null or absent in params.yaml
    assert (new.optimizer.clip_norm, new.stop_after, new.model.blocks[0].batch_norm) == (1.0, 3, True)
    assert base.overridden(new, "train", {"train.stop_after": None}).stop_after is None
    for name, value, said in (
        ("train.stop_after.more", 1, "unknown key"),
        ("train.model.blocks.9.kernel", 3, "unknown key"),
        ("prepare.watch", "float32", "unknown key"),
        ("train.epochs", 0, "train.epochs"),
    ):
        with pytest.raises(UserError, match=said):
            base.overridden(params.train, "train", {name: value})


def test_what_is_off_can_be_searched(tmp_path):
    space = {
        "train.optimizer.clip_norm": {"low": 0.1, "high": 10.0, "log": True},
        "train.stop_after": {"choices": [None, 3]},
        "train.model.blocks.0.batch_norm": {"choices": [True, False]},
        "train.model.hidden_dropout": {"low": 0.0, "high": 0.5},
    }
    found = params_file.load_params(changed(tmp_path / "params.yaml", "tune.space", space)).tune.space
    assert found["train.model.blocks.0.batch_norm"].choices == (True, False)
    assert found["train.stop_after"].choices == (None, 3)


def test_flatten_names_every_leaf():
    assert base.flatten({"a": {"b": [1, {"c": 2}]}, "d": []}) == {"a.b.0": 1, "a.b.1.c": 2, "d": []}


def test_a_file_that_changes_is_read_again(tmp_path):
    path = tmp_path / "params.yaml"
    for seed in (1, 2):
        path.write_text(f"train: {{seed: {seed}}}\n")
        assert base.read_tree(path) == {"train": {"seed": seed}}


def test_changes_are_merged_key_by_key_and_keep_the_rest():
    changed = base.merged({"a": 1, "b": {"c": 2, "d": [1, 2]}}, {"b": {"d": [3]}, "e": 4})
    assert changed == {"a": 1, "b": {"c": 2, "d": [3]}, "e": 4}
    assert base.merged({"a": {"b": 1}}, {"a": {}}) == {"a": {}}
