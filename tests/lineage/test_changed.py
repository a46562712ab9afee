"""What differs from the last committed results, in the words of a table."""

import json

import pytest

from tests.conftest import git
from xtcav_ml.lineage import changed

RATE = "train.optimizer.learning_rate"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder, rate, seed=1):
    (folder / "params.yaml").write_text(f"train: {{seed: {seed}, threads: 2, optimizer: {{learning_rate: {rate}}}}}\n")
    changed.write_changed({"train.seed": seed, "train.threads": 2, RATE: rate})
    return json.loads((folder / "results/changed.json").read_text())["changed"]


def commit(folder, *names):
    git(folder, "add", *names)
    git(folder, "commit", "-qm", "x")


def test_a_commit_of_results_keeps_what_came_with_it(folder):
    assert write(folder, 0.01) == "-"  # no git
    git(folder, "init", "-q")
    commit(folder, "-A")
    assert write(folder, 0.01) == "-"
    assert write(folder, 0.02) == f"{RATE} 0.02"
    commit(folder, "-A")
    assert write(folder, 0.02) == f"{RATE} 0.02"  # as in a clone of this commit
    assert write(folder, 0.02, seed=2) == "train.seed 2"
    assert write(folder, 0.02) == f"{RATE} 0.02"  # back again
    assert write(folder, 0.03, seed=2) == f"train.seed 2, {RATE} 0.03"
    commit(folder, "params.yaml")  # and the results later
    assert write(folder, 0.03, seed=2) == f"train.seed 2, {RATE} 0.03"
    commit(folder, "-A")
    assert git(folder, "status", "--porcelain") == ""


def test_of_many_some_are_named(folder):
    git(folder, "init", "-q")
    write(folder, 0.01)
    commit(folder, "-A")
    changed.write_changed({"a": 1, "b": None, "c": 3})
    text = (folder / "results/changed.json").read_text()
    assert text.count(",") == 2
    assert "4 more" in text


def test_a_damaged_commit_is_no_error(folder):
    git(folder, "init", "-q")
    (folder / "params.yaml").write_text("{")
    commit(folder, "-A")
    changed.write_changed({"a": 1})
    assert (folder / "results/changed.json").read_bytes() == changed.NOTHING
