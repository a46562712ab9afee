import json

import pytest

from tests.conftest import ROOT
from xtcav_ml.cli import params as command
from xtcav_ml.system.errors import UserError


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_a_parameter_is_one_line_with_value_default_range_unit_and_meaning(capsys):
    command.params("train.optimizer.", as_json=False)
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert list(lines)[:3] == ["key", "train.optimizer.name", "train.optimizer.learning_rate"]
    for part in (" 0 ", " >= 0, < 2147483648 ", " minibatches ", "for cosine"):
        assert part in lines["train.optimizer.warmup_steps"]


def test_json_has_the_same_rows(capsys):
    command.params("prepare.split.by", as_json=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["key"], row["value"], row["required"]) == ("prepare.split.by", "block", True)
    assert row["allowed"] == "block, run, file"


def test_a_prefix_of_no_key_is_refused():
    with pytest.raises(UserError, match=r"PREFIX: .*'trian'.*Fix: "):
        command.params("trian", as_json=False)
