import json

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT
from xtcav_ml.config import base, space
from xtcav_ml.config.base import flatten
from xtcav_ml.config.train import TrainParams
from xtcav_ml.system.errors import UserError
from xtcav_ml.tuning import promote


def on_front(train, epochs, number, found, better):
    """Return a trial of the front as best.json has it."""
    trial = space.applied(train, {"train.epochs": epochs, **found})
    values, train = {"accuracy": -0.5, "memory": 0.1}, flatten({"train": trial.model_dump(mode="json")})
    return {"trial": number, "values": values, "params": found, "train": train, "better": better, "verdict": "less"}


@pytest.fixture
def promoted(tmp_path):
    """Promote a trial of `epochs` with other parameters, from a file with others changed; return text and parameters."""

    def run(epochs, found, better=True, force=False, *, front=(), number=None, **given):
        path = tmp_path / "params.yaml"
        text = (ROOT / "params.yaml").read_text()
        for old, new in given.items():
            text = text.replace(old, new)
        path.write_text(text)
        train = base.load_section("train", TrainParams, path)
        trial = space.applied(train, {"train.epochs": epochs, **found})
        best = {"study": "s", "trial": 3, "score": 0.5, "epochs": epochs, "params": found}
        best |= {"better": better, "verdict": "as good"}
        best["train"] = flatten({"train": trial.model_dump(mode="json")})
        best["front"] = [on_front(train, epochs, *one) for one in front]
        (tmp_path / "best.json").write_text(json.dumps(best))
        promote.promote_best(tmp_path / "best.json", path, force, number)
        return path.read_text(), base.load_section("train", TrainParams, path)

    return run


def test_parameters_that_the_file_leaves_out_are_added_and_the_rest_stays(promoted, capsys):
    found = {
        "train.optimizer.clip_norm": 2.0,
        "train.model.hidden_dropout": 0.2,
        "train.model.blocks.0.batch_norm": True,
    }
    text, train = promoted(8, found)
    assert (train.optimizer.clip_norm, train.model.hidden_dropout, train.model.blocks[0].batch_norm) == (2.0, 0.2, True)
    assert "  +    clip_norm: 2.0\n" in capsys.readouterr().out
    before = (ROOT / "params.yaml").read_text().splitlines()
    added = [line for line in text.splitlines() if line not in before]
    assert len(added) == 4  # these, and the epochs of the trial
    assert [line for line in before if line not in text.splitlines()] == [
        line
        for line in before
        if "channels: 8, kernel: 8" in line or (line.startswith("  epochs: 20 ") and "that of" in line)
    ]
    assert YAML(typ="safe").load(text).keys() == YAML(typ="safe").load("\n".join(before)).keys()


@pytest.mark.parametrize("schedule", ["staircase", "plateau", "cosine"])
def test_a_training_becomes_as_long_as_the_trial(promoted, schedule):
    changed = {"train.optimizer.momentum": 0.5, "train.optimizer.schedule": schedule}
    assert promoted(8, changed)[1].epochs == 8
    assert promoted(50, changed)[1].epochs == 50


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_list_of_another_length_keeps_the_lines_of_its_entries(promoted, blocks):
    found = {"train.model.blocks": blocks, f"train.model.blocks.{blocks - 1}.kernel": 5}
    text, train = promoted(8, found)
    assert [block.kernel for block in train.model.blocks] == [*[8, 6][: blocks - 1], 5]
    lines = [line for line in text.splitlines() if line.strip().startswith("- {channels")]
    assert len(lines) == blocks
    assert "    hidden: [16]              # sizes" in text


def test_a_trial_that_is_not_better_over_seeds_is_promoted_by_force_alone(promoted):
    found = {"train.optimizer.momentum": 0.5}
    with pytest.raises(UserError, match=r"best\.json: not shown to be better .*'as good'.* Fix: .*--force"):
        promoted(8, found, better=False)
    with pytest.raises(UserError, match=r"not shown to be better .* Fix: .*--force"):
        promoted(8, found, better=None)
    for better, force in ((False, True), (True, False), (None, True)):
        assert promoted(8, found, better, force)[1].optimizer.momentum == 0.5


def test_a_trial_of_the_front_is_promoted_by_its_number(promoted, capsys):
    best, others = {"train.optimizer.momentum": 0.5}, {"train.optimizer.momentum": 0.6}
    front = [(3, best, True), (7, others, True), (9, {"train.batch_size": 16}, False)]
    assert promoted(8, best, front=front)[1].optimizer.momentum == 0.5
    assert promoted(8, best, front=front, number=3)[1].optimizer.momentum == 0.5
    assert promoted(8, best, front=front, number=7)[1].optimizer.momentum == 0.6
    assert "promoted trial 7 of s" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"not shown to be better .*'less'.* Fix: .*--force"):
        promoted(8, best, front=front, number=9)
    assert promoted(8, best, front=front, number=9, force=True)[1].batch_size == 16
    with pytest.raises(
        UserError, match=r"trial 5 .*\(found the best trials 3, 7, 9, expected one of these\)\. Fix: give"
    ):
        promoted(8, best, front=front, number=5)
