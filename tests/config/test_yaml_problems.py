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
    "a per cent sign in front": ("momentum: 0.85", "momentum: %85", "invalid YAML"),
}
NO_PARAMETERS = {
    "a misspelt step": (
        "step: subtract_dark",
        "step: substract_dark",
        "prepare.images.0.step: ",
        "expected 'subtract_dark'",
    ),
    "a step of no kind": ("step: subtract_dark", "step: xyz", "prepare.images.0.step: ", "one of 'subtract_dark', "),
    "a misspelt key": (
        "learning_rate: 0.01",
        "learnig_rate: 0.01",
        "train.optimizer.learnig_rate: ",
        "expected learning_rate",
    ),
    "a misspelt label": ("label: acq", "lable: acq", "prepare.lable: unknown key", "expected label"),
    "a text for a number": ("momentum: 0.85", "momentum: high", "train.optimizer.momentum: ", "found 'high'"),
    "a decimal comma": ("momentum: 0.85", "momentum: 0,85", "train.optimizer.momentum: ", "Fix: write 0.85"),
    "a percentage": ("train: 0.7", "train: 70%", "prepare.split.train: ", "Fix: write 0.7"),
    "a number out of bounds": ("momentum: 0.85", "momentum: -1", "train.optimizer.momentum: ", "found -1"),
    "no value": ("epochs: 24", "epochs:", "train.epochs: ", "found None"),
    "a list for a number": ("epochs: 24", "epochs: [24]", "train.epochs: ", "found (24,)"),
    "another name of a kind": ("pool: max", "pool: maxx", "train.model.blocks.0.pool: ", "found 'maxx'"),
    "shares that do not add up": (
        "validation: 0.15",
        "validation: 0.5",
        "prepare.split: train + validation + test",
        "1.35",
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


def test_a_missing_key_that_no_other_one_means_is_told_too(tmp_path):
    text = re.sub("(?m)^ +epochs: .*$", "", TEXT).replace("learning_rate: 0.01", "learnig_rate: 0.01")
    path = tmp_path / "params.yaml"
    path.write_text(text)
    tree = base.read_tree(path)
    with pytest.raises(UserError) as refused:
        base.validate_section(tree["train"], params_file.Params.model_fields["train"].annotation, "train")
    assert re.search(r"^params.yaml: train.optimizer.learnig_rate: .*; train.epochs: missing", str(refused.value))
