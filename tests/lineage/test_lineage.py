import hashlib
import os
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from xtcav_ml.lineage import environment, fingerprint, lineage
from xtcav_ml.lineage.fingerprint import Code
from xtcav_ml.system.errors import UserError


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    stages = {"train": {"cmd": "x", "params": ["train", {"code/train.json": ["fingerprint"]}], "deps": ["d.h5"]}}
    with (tmp_path / "dvc.yaml").open("w") as file:
        YAML().dump({"stages": stages}, file)
    (tmp_path / "params.yaml").write_text("train: {rate: 0.1}\nother: 1\n")
    (tmp_path / "requirements.txt").write_text("keras==3.1 \\\n    --hash=sha256:0\n")
    fingerprint.write_codes(tmp_path)
    (tmp_path / "d.h5").write_text("data")
    return tmp_path


def test_it_names_parameters_code_and_data_apart(workspace):
    found = lineage.of_stage("train", workspace)
    assert found.params == {"train": {"rate": 0.1}}
    assert found.data == {"d.h5": hashlib.md5(b"data").hexdigest()}
    assert found.code == fingerprint.present_code("train", workspace)
    assert found.code.libraries == {"keras": "3.1"}


@pytest.mark.parametrize(
    ("name", "text", "same"),
    [
        ("requirements.txt", "keras==3.2", False),
        ("requirements.txt", "keras==3.1\nmlflow==1.0", True),
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


def test_a_variable_that_counts_is_part_of_the_key(workspace, monkeypatch):
    before = lineage.of_stage("train", workspace)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    assert lineage.of_stage("train", workspace) == before
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert lineage.of_stage("train", workspace).key == before.key  # no TensorFlow in this lock
    (workspace / "requirements.txt").write_text("keras==3.1\ntensorflow==2.2\n")
    now = lineage.of_stage("train", workspace)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    then = lineage.of_stage("train", workspace)
    assert now.key != then.key
    assert now.identity != then.identity
    assert then.code.differing(now.code) == ["ONEDNN_MAX_CPU_ISA (none, SSE41)"]


def test_a_missing_dependency_names_the_command_that_makes_it(workspace):
    (workspace / "d.h5").unlink()
    with pytest.raises(UserError, match=r"d\.h5: .*Fix: run `make repro`"):
        lineage.of_stage("train", workspace)


LOCK = """
stages:
  prepare:
    outs: [{path: d.h5, md5: D}]
  train:
    deps: [{path: d.h5, md5: D}]
    params: {params.yaml: {train: {rate: 0.1}}, code/train.json: {fingerprint: F}}
    outs: [{path: model, md5: M}]
"""


def hashed(text):
    return hashlib.md5(text.encode()).hexdigest()


def lay_lock(workspace, **marks):
    text = LOCK
    for mark, value in {"F": fingerprint.present_code("train", workspace).fingerprint, **marks}.items():
        text = text.replace(f" {mark}}}", f" {value}}}")
    (workspace / "dvc.lock").write_text(text)


def test_the_lock_the_commit_and_the_workspace_give_the_same_lineage(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    (workspace / "model").write_text("made")
    lay_lock(workspace, D=hashed("data"), M=hashed("made"))
    found = lineage.of_stage("train")
    assert lineage.of_output("train", Path("model")) == found
    assert lineage.of_revision("train", lambda name: (workspace / name).read_bytes()) == found


def test_of_a_file_that_the_lock_does_not_know_the_workspace_is_asked(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    (workspace / "model").write_text("made by hand")
    assert lineage.of_output("train", Path("model")) == lineage.of_stage("train")
    lay_lock(workspace, F="older", M=hashed("made by hand"))
    assert lineage.of_output("train", Path("model")).code == Code("older")


def test_what_dvc_has_just_hashed_is_not_read_again(workspace, monkeypatch):
    md5 = "abcd" * 8  # not that of the contents: it shows where the hash comes from
    cached = workspace / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    cached.parent.mkdir(parents=True)
    lay_lock(workspace, D=md5)
    assert lineage.of_stage("train", workspace).data == {"d.h5": hashed("data")}
    os.link(workspace / "d.h5", cached)
    assert lineage.of_stage("train", workspace).data == {"d.h5": md5}
    (workspace / "d.h5").unlink()
    (workspace / "d.h5").write_text("atad")  # of the same size, in place of the link
    assert lineage.of_stage("train", workspace).data == {"d.h5": hashed("atad")}


def test_the_kernel_and_tools_around_change_no_identity_and_libraries_of_the_stage_do(workspace, monkeypatch):
    origin = lineage.of_stage("train", workspace)
    before = origin.identity
    installed = environment.importlib.metadata.version
    monkeypatch.setattr(environment.platform, "platform", lambda: "another kernel")
    monkeypatch.setattr(
        environment.importlib.metadata,
        "version",
        lambda name: installed(name) + "1" * (name in ("mlflow", "dvc", "optuna")),
    )
    assert origin.identity == before
    monkeypatch.setattr(environment.importlib.metadata, "version", lambda name: "0")
    assert origin.identity["environment"] != before["environment"]
    monkeypatch.undo()
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert origin.identity["environment"] != before["environment"]


def test_a_revision_that_was_not_run_says_so(workspace):
    (workspace / "dvc.lock").write_text("")
    with pytest.raises(UserError, match=r"dvc\.lock: stage 'train' is missing"):
        lineage.of_revision("train", lambda name: (workspace / name).read_bytes())
