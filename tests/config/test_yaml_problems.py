"""Edits that go wrong in params.yaml: the first clause of the error names the cause, and of YAML its line and column."""

import re

import pytest

from tests.conftest import ROOT
from xtcav_ml.config import base, params_file
from xtcav_ml.system.errors import UserError

TEXT = (ROOT / "params.yaml").read_text()

NO_YAML = {
    "a tab": ("  epochs:", "\tepochs:", "found a tab"),
    "a doubled key": ("  epochs:", "  epochs: 3\n  epochs:", "key twice (found 'epochs'"),
    "an open bracket": ("hidden: [16]", "hidden: [16", "found an open bracket"),
    "no space after the colon": ("    block: 10", "    block:10", "found a key without a colon and a space"),
    "another indentation": ("  optimizer:", "   optimizer:", "found another indentation"),
    "an alias of nothing": ("momentum: 0.85", "momentum: *x", "found an alias"),
    "an open quote": ("label: acq.peaksLabel", "label: 'acq.peaksLabel", "Fix: close the quote"),
    "two colons": ("momentum: 0.85", "momentum: : 0.85", "found a second colon"),
    "an open quote at the end": ("low: ", 'low: "', "found an open quote"),
    "two versions of a merge": (
        "  epochs: 20",
        "<<<<<<< HEAD\n  epochs: 20\n=======\n  epochs: 12\n>>>>>>> b",
        "two versions of a merge (found git's mark",
    ),
    "another document": ("\ntune:", "\n---\ntune:", "found a line ---"),
    "a tag": ("study: peaks", "study: !peaks", "found a tag (!)"),
    "an at sign in front": ("study: peaks", "study: @peaks", "found a character that begins no value"),
    "a bar in front": ("study: peaks", "study: |peaks", "found a text of several lines"),
    "a question mark in front": ("momentum: 0.85", "momentum: ? 0.85", "found a question mark"),
    "a dash after a colon": ("momentum: 0.85", "momentum: - 0.85", "found a dash after a colon"),
    "a backslash": ("raw: data/raw/simulated", 'raw: "C:\\data"', "found a backslash in double quotes"),
    "a per cent sign in front": ("momentum: 0.85", "momentum: %85", "invalid YAML"),
}
NO_PARAMETERS = {
    "a misspelt step": (
        "step: block_mean",
        "step: blok_mean",
        "prepare.images.0.step: ",
        "expected 'block_mean'",
    ),
    "a step of no kind": ("step: block_mean", "step: xyz", "prepare.images.0.step: ", "one of 'subtract_dark', "),
    "a misspelt key": (
        "learning_rate: 0.02",
        "learnig_rate: 0.02",
        "train.optimizer.learnig_rate: ",
        "expected learning_rate",
    ),
    "a misspelt label": ("label: acq", "lable: acq", "prepare.lable: unknown key", "expected label"),
    "a text for a number": ("momentum: 0.85", "momentum: high", "train.optimizer.momentum: ", "found 'high'"),
    "a decimal comma": ("momentum: 0.85", "momentum: 0,85", "train.optimizer.momentum: ", "Fix: write 0.85"),
    "a percentage": ("train: 0.36", "train: 70%", "prepare.split.train: ", "Fix: write 0.7"),
    "a number out of bounds": ("momentum: 0.85", "momentum: -1", "train.optimizer.momentum: ", "found -1"),
    "no value": ("epochs: 20", "epochs:", "train.epochs: ", "found None"),
    "a list for a number": ("epochs: 20", "epochs: [40]", "train.epochs: ", "found (40,)"),
    "another name of a kind": ("pool: max", "pool: maxx", "train.model.blocks.0.pool: ", "found 'maxx'"),
    "a misspelt key of a step": ("size: 2", "sise: 2", "prepare.images.0.sise: ", "expected size"),
    "a misspelt `step`": ("step: log", "stp: log", "prepare.images.1.stp: ", "expected step"),
    "a step without its key": (
        "{step: log}",
        "log",
        "prepare.images.1: no section (found 'log'",
        "expected keys step",
    ),
    "a step without `step`": ("step: block_mean, size: 2", "size: 2", "prepare.images.0: no key `step`", "Fix: add it"),
    "a range without an end": (
        "low: 0.5, high: 0.98",
        "low: 0.5",
        "tune.space.train.optimizer.momentum.high: missing",
        "",
    ),
    "a range the other way round": (
        "low: 0.5, high: 0.98",
        "low: 0.98, high: 0.5",
        "tune.space.train.optimizer.momentum: low is not below high",
        "",
    ),
    "a range as a list": (
        "{low: 0.5, high: 0.98}",
        "[0.5, 0.98]",
        "tune.space.train.optimizer.momentum: no section (found (0.5, 0.98), ",
        "expected keys low, high",
    ),
    "a single choice": (
        "choices: [max, average]",
        "choices: [max]",
        "tune.space.train.model.blocks.0.pool.choices: invalid value (found ('max',), ",
        "at least 2",
    ),
    "no space after a colon in braces": (
        "{low: 0.5, high",
        "{low:0.5, high",
        "tune.space.train.optimizer.momentum.low:0.5: no space after the colon",
        "expected `low: 0.5`",
    ),
    "a key with a point": (
        "  epochs: 20",
        "  epochs: 20\n  optimizer.momentum: 0.5",
        "train.optimizer.momentum: a key with a point",
        "`optimizer:` and below it `momentum:`",
    ),
    "a list that is too short": (
        "frame_shape: [726, 568]",
        "frame_shape: [726]",
        "data.frame_shape: too few values",
        "[726]",
    ),
    "thousands": ("epochs: 20", "epochs: 1,000", "train.epochs: ", "Fix: write 1000 without a comma"),
    "true in quotes": (
        "class_weights: false",
        'class_weights: "false"',
        "train.class_weights: ",
        "false without quotes",
    ),
    "a number for a text": ("raw: data/raw/simulated", "raw: 2016", "data.raw: ", "put it in quotes"),
    "shares that do not add up": (
        "validation: 0.13",
        "validation: 0.5",
        "prepare.split: train + validation + test",
        "1.37",
    ),
}


def refusal(tmp_path, old, new):
    """Return the error of params.yaml after an edit, and the number of the first line that it changed."""
    assert old in TEXT
    path = tmp_path / "params.yaml"
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(UserError) as refused:
        params_file.load_params(path)
    message = str(refused.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path)), TEXT.partition(old)[0].count("\n") + 1


@pytest.mark.parametrize("edit", NO_YAML)
def test_what_is_no_yaml_is_told_in_words_with_its_line(tmp_path, edit):
    *change, cause = NO_YAML[edit]
    message, line = refusal(tmp_path, *change)
    place = re.match(r", line (\d+), column \d+: ", message)
    assert line <= int(place[1]) <= line + 1
    assert cause in message
    assert "<" not in message  # no words of the parser


@pytest.mark.parametrize("edit", NO_PARAMETERS)
def test_what_is_no_parameter_is_told_before_what_follows_from_it(tmp_path, edit):
    *change, key, cause = NO_PARAMETERS[edit]
    message, _ = refusal(tmp_path, *change)
    assert message.startswith(f": {key}")
    assert cause in message
    assert message.count("Fix: ") == 1


@pytest.mark.parametrize("value", ["", " [1, 2]", " 3"])
def test_a_section_without_keys_names_them(tmp_path, value):
    path = tmp_path / "params.yaml"
    path.write_text(f"{TEXT.partition(chr(10) + 'tune:')[0]}\ntune:{value}\n")
    with pytest.raises(UserError, match=r"params.yaml: tune: no section .*expected keys study, seed, "):
        params_file.load_params(path)


def test_another_encoding_is_told_with_its_line(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes(TEXT.encode().replace(b"seed of the search", "gr\u00f6\u00dfe".encode("latin-1")))
    with pytest.raises(UserError, match=r"params.yaml, line \d+: not UTF-8 \(found byte 0xf6"):
        params_file.load_params(path)


def test_a_missing_key_that_no_other_one_means_is_told_too(tmp_path):
    text = re.sub("(?m)^ +epochs: .*$", "", TEXT).replace("learning_rate: 0.02", "learnig_rate: 0.02")
    path = tmp_path / "params.yaml"
    path.write_text(text)
    tree = base.read_tree(path)
    with pytest.raises(UserError) as refused:
        base.validate_section(tree["train"], params_file.Params.model_fields["train"].annotation, "train")
    assert re.search(r"^params.yaml: train.optimizer.learnig_rate: .*; train.epochs: missing", str(refused.value))
