"""An experiment that cannot be trained is refused before DVC removes what it left."""

import shutil

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT
from xtcav_ml.learning import rules
from xtcav_ml.notes2016 import validation
from xtcav_ml.system.errors import UserError

STAGES = YAML(typ="safe").load((ROOT / "experiments" / "dvc.yaml").read_text())["stages"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with params.yaml and all experiments, on a machine of 64 GB."""
    outputs = shutil.ignore_patterns("data", "trained", "results")  # where the notes were repeated
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments", ignore=outputs)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rules, "memory", lambda: 64e9)
    return tmp_path


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_shipped_experiments_are_valid(project):
    validation.check_experiments()
    written = (project / validation.VALID_FILE).read_bytes()
    change(project / "experiments/signal-40.yaml", "epochs: 13", "epochs: 14")
    validation.check_experiments()
    assert (project / validation.VALID_FILE).read_bytes() == written


def test_the_digest_of_the_simulation_changes_with_a_value_alone(project):
    validation.check_experiments()
    written = (project / validation.SIMULATION_FILE).read_bytes()
    assert written == (ROOT / validation.SIMULATION_FILE).read_bytes()  # the committed one
    for old, new, same in (
        ("simulate:\n", "simulate:  # a remark\n", True),
        ("  epochs: 20", "  epochs: 21", True),
        ("  run_spacing: ", "  run_spacing: 1", False),
    ):
        change(project / "params.yaml", old, new)
        validation.check_experiments()
        assert ((project / validation.SIMULATION_FILE).read_bytes() == written) == same


@pytest.mark.parametrize(
    ("name", "old", "new", "key", "value"),
    [
        ("signal-40", "batch_size: 128", "batch_size: 1281", r"train\.batch_size", "1281"),
        ("signal-40", "train:\n  ", "train:\n  augment: {shift: [40, 0]}\n  ", r"train\.augment\.shift\.0", "40"),
        ("peaks-7", "name: convnet", "name: resnet", r"train\.model\.name", "resnet"),
        ("peaks-4-keras", "batch_size: ", "batch_sise: ", r"train\.batch_sise", "batch_size"),
    ],
)
def test_one_that_cannot_be_trained_is_refused_with_its_file_and_key(project, name, old, new, key, value):
    change(project / f"experiments/{name}.yaml", old, new)
    with pytest.raises(UserError, match=rf"experiments/{name}\.yaml: .*{key}.*{value}"):
        validation.check_experiments()
    assert not (project / validation.VALID_FILE).exists()


def test_every_experiment_is_checked_before_any_is_trained():
    files = {path.name for path in (ROOT / "experiments").glob("*.yaml") if path.stem != "dvc"}
    assert set(STAGES["validate"]["deps"]) == files | {"../params.yaml"}
    for stage in ("train", "long", "measure"):
        assert str(validation.VALID_FILE.relative_to("experiments")) in STAGES[stage]["do"]["deps"]
