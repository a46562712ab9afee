import hashlib
import subprocess

import pytest
from ruamel.yaml import YAML

from xtcav_ml import lineage
from xtcav_ml.errors import UserError
from xtcav_ml.params.base import read_tree


@pytest.fixture
def workspace(tmp_path):
    stages = {"train": {"cmd": "x", "params": ["train"], "deps": ["a.py", "d.h5"]}}
    with (tmp_path / "dvc.yaml").open("w") as file:
        YAML().dump({"stages": stages}, file)
    (tmp_path / "params.yaml").write_text("train: {rate: 0.1}\nother: 1\n")
    (tmp_path / "a.py").write_text("code")
    (tmp_path / "d.h5").write_text("data")
    read_tree.cache_clear()
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
    read_tree.cache_clear()
    assert (lineage.of_stage("train", workspace).key == before) is same


def test_a_missing_dependency_names_the_command_that_makes_it(workspace):
    (workspace / "d.h5").unlink()
    with pytest.raises(UserError, match=r"d\.h5: .* run `make repro`"):
        lineage.of_stage("train", workspace)


def test_git_state_knows_code_from_outputs(workspace):
    assert lineage.git_state(workspace)["commit"] == "none"

    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        return subprocess.run(
            ["git", *identity, *arguments], cwd=workspace, check=True, capture_output=True, text=True
        ).stdout

    git("init", "-q", "-b", "main")
    git("add", "-A")
    git("commit", "-qm", "x")
    commit = git("rev-parse", "HEAD").strip()
    assert lineage.git_state(workspace) == {"commit": commit, "branch": "main", "dirty": "false"}
    (workspace / "results").mkdir()
    (workspace / "results" / "metrics.json").write_text("{}")
    (workspace / "dvc.lock").write_text("x")
    assert lineage.git_state(workspace)["dirty"] == "false"
    (workspace / "a.py").write_text("edited")
    assert lineage.git_state(workspace)["dirty"] == "true"


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
