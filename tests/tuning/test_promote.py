import json

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT
from xtcav_ml.config import base
from xtcav_ml.config.base import flatten, overridden
from xtcav_ml.config.train import TrainParams
from xtcav_ml.tuning import promote


@pytest.fixture
def promoted(tmp_path):
    """Promote a trial of `epochs` with other parameters, from a file with others changed; return text and parameters."""

    def run(epochs, found, **given):
        path = tmp_path / "params.yaml"
        text = (ROOT / "params.yaml").read_text()
        for old, new in given.items():
            text = text.replace(old, new)
        path.write_text(text)
        train = base.load_section("train", TrainParams, path)
        trial = overridden(train, "train", {"train.epochs": epochs, **found})
        best = {"study": "s", "trial": 3, "score": 0.5, "epochs": epochs, "params": found}
        best["train"] = flatten({"train": trial.model_dump(mode="json")})
        (tmp_path / "best.json").write_text(json.dumps(best))
        promote.promote_best(tmp_path / "best.json", path)
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
    assert "train.optimizer.clip_norm: None -> 2.0" in capsys.readouterr().out
    before = (ROOT / "params.yaml").read_text().splitlines()
    added = [line for line in text.splitlines() if line not in before]
    assert len(added) == 3
    assert [line for line in before if line not in text.splitlines()] == [
        line for line in before if "channels: 8, kernel: 8" in line
    ]
    assert YAML(typ="safe").load(text).keys() == YAML(typ="safe").load("\n".join(before)).keys()


@pytest.mark.parametrize("schedule", ["staircase", "plateau", "cosine"])
def test_a_training_becomes_as_long_as_the_trial_and_never_shorter(promoted, schedule):
    changed = {"train.optimizer.momentum": 0.5, "train.optimizer.schedule": schedule}
    assert promoted(8, changed)[1].epochs == 40
    assert promoted(50, changed)[1].epochs == 50
