import hashlib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT
from xtcav_ml.lineage import lineage
from xtcav_ml.system.errors import UserError


@pytest.fixture
def workspace(tmp_path):
    stages = {"train": {"cmd": "x", "params": ["train"], "deps": ["a.py", "d.h5"]}}
    with (tmp_path / "dvc.yaml").open("w") as file:
        YAML().dump({"stages": stages}, file)
    (tmp_path / "params.yaml").write_text("train: {rate: 0.1}\nother: 1\n")
    (tmp_path / "a.py").write_text("code")
    (tmp_path / "d.h5").write_text("data")
    return tmp_path


def test_it_names_parameters_code_and_data_apart(workspace):
    found = lineage.of_stage("train", workspace)
    assert found.params == {"train": {"rate": 0.1}}
    assert found.data == {"d.h5": hashlib.md5(b"data").hexdigest()}
    assert found.code == {"a.py": hashlib.md5(b"code").hexdigest()}


@pytest.mark.parametrize(
    ("name", "text", "same"),
    [
        ("a.py", "other code", False),
        ("d.h5", "other data", False),
        ("params.yaml", "train: {rate: 0.2}\nother: 1\n", False),
        ("params.yaml", "other: 2\ntrain: {rate: 0.1}\n", True),
        ("unrelated.py", "whatever", True),
    ],
)
def test_the_key_changes_with_what_decides_the_result_and_with_nothing_else(workspace, name, text, same):
    before = lineage.of_stage("train", workspace).key
    (workspace / name).write_text(text)
    assert (lineage.of_stage("train", workspace).key == before) is same


def test_a_missing_dependency_names_the_command_that_makes_it(workspace):
    (workspace / "d.h5").unlink()
    with pytest.raises(UserError, match=r"d\.h5: .* run `make repro`"):
        lineage.of_stage("train", workspace)


LOCK = """
stages:
  prepare:
    deps: [{path: raw, md5: 0123.dir}, {path: p.py, md5: p}]
    outs: [{path: d.h5, md5: D}, {path: test.h5, md5: T}]
  train:
    deps: [{path: a.py, md5: A}, {path: d.h5, md5: D}]
    params: {params.yaml: {train: {rate: 0.1}}}
    outs: [{path: model, md5: M}]
"""


def hashed(text):
    return hashlib.md5(text.encode()).hexdigest()


def test_the_lock_says_of_what_a_stage_made_its_output():
    stages = lineage.read_lock(LOCK)
    assert lineage.of_lock(stages, "train") == lineage.Lineage({"train": {"rate": 0.1}}, {"d.h5": "D"}, {"a.py": "A"})
    assert lineage.of_lock(stages, "evaluate") is None
    assert lineage.made(stages, "train") == {"model": "M"}
    assert lineage.raw_data(stages, {"d.h5": "D"}) == {"raw": "0123.dir"}
    assert lineage.raw_data(stages, {"d.h5": "of a run by hand"}) == {}


def test_the_lock_and_the_workspace_give_the_same_key(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    (workspace / "dvc.lock").write_text(
        LOCK.replace("md5: A", f"md5: {hashed('code')}").replace("md5: D", f"md5: {hashed('data')}")
    )
    found = lineage.of_stage("train")
    assert lineage.of_lock(lineage.read_lock((workspace / "dvc.lock").read_text()), "train") == found
    assert lineage.of_revision("train", lambda name: (workspace / name).read_bytes()) == found


def test_of_a_file_that_the_lock_does_not_know_the_workspace_is_asked(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    (workspace / "model").write_text("made by hand")
    assert lineage.of_output("train", Path("model")) == lineage.of_stage("train")
    (workspace / "dvc.lock").write_text(LOCK.replace("md5: M", f"md5: {hashed('made by hand')}"))
    assert lineage.of_output("train", Path("model")).code == {"a.py": "A"}


def test_a_revision_that_was_not_run_says_so(workspace):
    (workspace / "dvc.lock").write_text("")
    with pytest.raises(UserError, match=r"dvc\.lock: must have stage 'train'"):
        lineage.of_revision("train", lambda name: (workspace / name).read_bytes())


def test_project_root_is_dvcs_or_the_nearest_above(workspace, monkeypatch):
    (workspace / "sub" / "deeper").mkdir(parents=True)
    monkeypatch.chdir(workspace / "sub" / "deeper")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert lineage.project_root() == workspace
    monkeypatch.setenv("DVC_ROOT", "/elsewhere")
    assert str(lineage.project_root()) == "/elsewhere"
    monkeypatch.delenv("DVC_ROOT")
    monkeypatch.chdir("/")
    with pytest.raises(UserError, match="must be inside the project's folder"):
        lineage.project_root()


def test_environment_names_versions_and_processor():
    found = lineage.environment()
    assert found["keras"].startswith("3.")
    assert "cores" in found["cpu"]
    assert lineage.environment(["numpy", "no such library"]).keys() - {"numpy"} == lineage.environment([]).keys()


def test_jax_is_a_part_of_the_environment_where_it_is_installed(monkeypatch):
    monkeypatch.setattr(lineage.importlib.metadata, "version", lambda name: f"{name} 1")
    assert lineage.environment()["jax"] == "jax 1"


@pytest.mark.parametrize("name", ["dvc.lock", "data/raw/dvc.lock", "experiments/dvc.lock"])
def test_one_stage_of_a_lock_is_what_the_whole_says_of_it(name):
    text = (ROOT / name).read_text()
    whole = lineage.read_lock(text)
    assert whole
    for stage, said in whole.items():
        assert lineage.read_lock(lineage._only(stage, text)) == {stage: said}
    assert lineage._only("nowhere", text) == text
