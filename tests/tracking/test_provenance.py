"""What a run's page in MLflow opens with."""

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT
from xtcav_ml.tracking import provenance

METRICS = {"accuracy": 0.8, "accuracy_low": 0.7, "accuracy_high": 0.9, "shots": 411}
TAGS = {"git.commit": "0123456789abcdef", "git.dirty": "true"}
LONGEST_TAG = 8000
"""Characters that MLflow takes as a tag."""


@pytest.mark.parametrize("blocks", [2, 16])
def test_the_note_has_the_result_and_the_meaning_and_unit_of_parameters(tmp_path, monkeypatch, blocks):
    tree = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    tree["train"]["model"]["blocks"] *= blocks // 2
    with (tmp_path / "params.yaml").open("w") as file:
        YAML().dump(tree, file)
    monkeypatch.chdir(tmp_path)
    note = provenance.note(METRICS, TAGS)
    assert len(note) <= LONGEST_TAG
    assert "80.0%" in note
    assert "0123456789ab" in note
    (batch,) = (line for line in note.splitlines() if line.startswith("| train.batch_size |"))
    assert [cell.strip() for cell in batch.split("|")][2:5] == ["32", "shots", "size of a minibatch"]
    assert note.rstrip().endswith("|")
    assert ("`xtcav params` lists the rest" in note) == (blocks > 2)


def test_results_of_an_earlier_version_have_a_note_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text("data: {raw: mine}\n")
    monkeypatch.chdir(tmp_path)
    assert "`mine`" in provenance.note(METRICS, TAGS)
