"""A stage's run in MLflow, in a workspace as DVC has it, but of two small files."""

import getpass
import hashlib
import json
import platform
from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient
from ruamel.yaml import YAML

from tests.conftest import ROOT, stored_runs
from xtcav_ml.config.paths import MODEL
from xtcav_ml.learning.checkpoint import Checkpoints, State
from xtcav_ml.lineage import fingerprint, git, lineage
from xtcav_ml.lineage.fingerprint import Code
from xtcav_ml.tracking import mlflow_names, resources, runs
from xtcav_ml.tracking.tracker import Run, Tracker

METRICS = {"accuracy": 0.8, "accuracy_low": 0.7, "accuracy_high": 0.9, "shots": 411}
TAGS = {"git.commit": "0123456789abcdef", "git.dirty": "true"}
LONGEST_TAG = 8000
"""Characters that MLflow takes as a tag."""


def test_a_training_leaves_a_run_with_its_parameters_and_its_end(workspace):
    with runs.training_run("CPU") as (run, _), resources.measured("train"):
        run.on_epoch(1, {"val_accuracy": 0.5}, {"train": 2.0})
    (found,) = stored_runs(workspace)
    assert found.info.status == "FINISHED"
    assert found.data.params == {"train.model.name": "convnet", "prepare.include.gate_0_": "1", "data.raw": "mine"}
    values = found.data.metrics
    assert {name: values[name] for name in values if name in ("val_accuracy", "system/seconds_train")} == {
        "val_accuracy": 0.5,
        "system/seconds_train": 2.0,
    }
    assert values["system/max_memory_mb"] > 10
    made_in = MlflowClient().download_artifacts(found.info.run_id, "lineage/environment.json")
    assert json.loads(Path(made_in).read_text())["device"] == "CPU"
    assert found.data.tags[mlflow_names.KEY_TAG] == lineage.of_stage("train").key


@pytest.mark.parametrize("folder", ["data/raw/simulated", "data/raw/simulated/", "./data/raw/simulated"])
def test_a_run_on_simulated_shots_has_their_parameters(workspace, folder):
    (workspace / "params.yaml").write_text(
        f"train: {{model: {{name: convnet}}}}\nprepare: {{label: x}}\ndata: {{raw: {folder}}}\nsimulate: {{seed: 5}}\n"
    )
    with runs.training_run("CPU"):
        pass
    assert stored_runs(workspace)[0].data.params["simulate.seed"] == "5"


def test_parameters_are_those_that_the_data_were_made_with(workspace):
    lock = {"stages": {"prepare": {"params": {"params.yaml": {"prepare": {"label": "x"}, "data": {"raw": "theirs"}}}}}}
    (workspace / "dvc.lock").write_text(json.dumps(lock))
    with runs.training_run("CPU"):
        pass
    params = stored_runs(workspace)[0].data.params
    assert params == {"train.model.name": "convnet", "prepare.label": "x", "data.raw": "theirs"}
    assert "`theirs`" in runs.note(METRICS, TAGS)


def ended_training(workspace):
    """Leave the states of a training that has ended, with its run, and return them."""
    states = Checkpoints.beside(workspace / MODEL, lineage.of_stage("train").identity, "CPU")
    states.save(State([{"val_accuracy": 0.5}], [], [], []))
    with runs.training_run("CPU"):
        (workspace / MODEL).write_bytes(b"weights")
        states.end(workspace / MODEL)
    return states


def test_a_training_that_ended_before_dvc_recorded_it_has_its_run(workspace):
    states = ended_training(workspace)
    with runs.training_run("CPU") as (run, _):
        assert run is None
    assert [run.info.status for run in stored_runs(workspace)] == ["FINISHED"]
    assert states.ended()


def test_a_training_that_ended_but_whose_run_failed_has_another(workspace):
    states = Checkpoints.beside(workspace / MODEL, lineage.of_stage("train").identity, "CPU")
    states.save(State([{"val_accuracy": 0.5}], [], [], []))
    with pytest.raises(OSError, match="full"), runs.training_run("CPU"):
        (workspace / MODEL).write_bytes(b"weights")
        states.end(workspace / MODEL)
        raise OSError("full")
    assert states.load()[0] is not None
    with runs.training_run("CPU") as (run, _):
        assert run is not None
    assert sorted(run.info.status for run in stored_runs(workspace)) == ["FAILED", "FINISHED"]


def test_a_training_that_dvc_has_recorded_is_made_again_if_it_is_told_to(workspace):
    states = ended_training(workspace)
    out = {"path": str(MODEL), "md5": states.ended()}
    (workspace / "dvc.lock").write_text(json.dumps({"stages": {"train": {"outs": [out]}}}))
    with runs.training_run("CPU") as (run, _):
        assert run is not None
    assert [run.info.status for run in stored_runs(workspace)] == ["FINISHED"] * 2
    assert states.load() == (None, [])


def test_another_coverage_is_not_another_training(workspace):
    states = ended_training(workspace)
    out = {"path": str(MODEL), "md5": states.ended()}
    (workspace / "dvc.lock").write_text(json.dumps({"stages": {"train": {"outs": [out]}}}))
    (workspace / "params.yaml").write_text(
        (workspace / "params.yaml").read_text().replace("train: {", "train: {coverage: 0.8, ")
    )
    with runs.training_run("CPU") as (run, identity):
        assert run is not None
        assert {**identity, "device": "CPU"} == states.identity
    assert [run.info.status for run in stored_runs(workspace)] == ["FINISHED"] * 2
    assert len(states.load()[0].history) == 1  # it goes on from there


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (RuntimeError, "FAILED")])
def test_a_run_says_how_it_ended(workspace, error, status):
    with pytest.raises(error), runs.training_run("CPU"):
        raise error
    assert [run.info.status for run in stored_runs(workspace)] == [status]


def test_a_store_that_takes_nothing_stops_no_training(workspace, monkeypatch, capsys):
    def refuse(*_, **__):
        raise requests.ConnectionError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", refuse)
        with runs.training_run("CPU") as (run, _), resources.measured("train"):
            run.on_epoch(1, {"val_accuracy": 0.5}, {})
    printed = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("xtcav: git: ")]
    assert len(printed) == 2
    assert all(line.startswith("xtcav: mlruns/journal: ") and "found 'no answer'" in line for line in printed)
    assert "training continues" in printed[0]
    assert "`xtcav sync`" in printed[1]
    with Tracker(workspace):
        pass
    (found,) = stored_runs(workspace)
    assert (found.info.status, found.data.metrics["val_accuracy"]) == ("FINISHED", 0.5)


def test_a_run_that_is_stopped_while_it_is_begun_is_ended(workspace, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "params", stop)
    with pytest.raises(KeyboardInterrupt), runs.training_run("CPU"):
        pass
    assert [run.info.status for run in stored_runs(workspace)] == ["KILLED"]


def test_a_run_says_of_what_it_was_made(workspace, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "brave-shot")
    monkeypatch.setattr(resources, "gpus", lambda: {"gpu": "one", "gpu_driver": "1.2"})
    train = lineage.file_md5(workspace / "train.h5")
    prepare = {"deps": [{"path": "mine", "md5": "ab.dir"}], "outs": [{"path": "train.h5", "md5": train}]}
    (workspace / "dvc.lock").write_text(json.dumps({"stages": {"prepare": prepare}}))
    for command in (
        ["init", "-q"],
        ["add", "params.yaml"],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "x"],
    ):
        git._git(workspace, *command)
    (workspace / "new.py").write_text("edited")
    with runs.training_run("CPU"):
        pass
    (found,) = stored_runs(workspace)
    tags = found.data.tags
    assert tags["dvc.exp.name"] == "brave-shot"
    assert len([tag for tag in tags if not tag.startswith("mlflow.")]) <= 12
    assert tags["mlflow.user"] == getpass.getuser()
    assert (tags["git.dirty"], tags.get("git.remote")) == ("true", None)
    used = {entry.dataset.name: (entry.dataset.digest, entry.tags[0].value) for entry in found.inputs.dataset_inputs}
    assert used == {"mine": ("ab.dir", "raw"), "train.h5": (train, "training")}
    kept = workspace / "mlruns/artifacts" / found.info.run_id / "artifacts/lineage"
    assert (kept / "params.yaml").read_bytes() == (workspace / "params.yaml").read_bytes()
    code = Code.from_json((kept / "code/train.json").read_bytes())
    assert code == fingerprint.present_code("train")
    made_in = json.loads((kept / "environment.json").read_text())
    assert (made_in["gpu"], made_in["gpu_driver"], made_in["python"]) == ("one", "1.2", platform.python_version())
    patch = (kept / "diff.patch").read_bytes()
    assert b"+edited" in patch
    assert tags["git.diff.sha256"] == hashlib.sha256(patch).hexdigest()


@pytest.mark.parametrize("epochs", [0, 3])
def test_only_a_run_that_resumed_something_says_so(workspace, epochs):
    with runs.training_run("CPU") as (run, _):
        run.on_resume(epochs, ["models/checkpoints/ab: kept"])
    tags = stored_runs(workspace)[0].data.tags
    assert tags.get("resumed_after_epoch") == (str(epochs) if epochs else None)


@pytest.mark.parametrize("blocks", [2, 16])
def test_the_note_has_the_result_and_the_meaning_and_unit_of_parameters(tmp_path, monkeypatch, blocks):
    tree = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    tree["train"]["model"]["blocks"] *= blocks // 2
    with (tmp_path / "params.yaml").open("w") as file:
        YAML().dump(tree, file)
    monkeypatch.chdir(tmp_path)
    note = runs.note(METRICS, TAGS)
    assert len(note) <= LONGEST_TAG
    assert "80.0%" in note
    assert "0123456789ab" in note
    (batch,) = (line for line in note.splitlines() if line.startswith("| train.batch_size |"))
    assert [cell.strip() for cell in batch.split("|")][2:5] == ["32", "shots", "size of a minibatch"]
    assert note.rstrip().endswith("|")
    assert "xtcav reproduce {run_id}" in note
    assert ("`xtcav params` lists the rest" in note) == (blocks > 2)


def test_the_note_has_the_confusion_matrix_and_its_picture(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text("data: {raw: mine}\n")
    monkeypatch.chdir(tmp_path)
    limits = {"expected_accuracy": 0.789, "bayes_accuracy": 0.912}
    note = runs.note({**METRICS, **limits, "confusion": [[300, 11], [20, 80]]}, TAGS, ["no | peaks", "t0"])
    assert "With labels drawn again 78.9% is expected, and 91.2% at best" in note
    assert "is expected" not in runs.note(METRICS, TAGS)
    table = [line for line in note.splitlines() if line.startswith("| ")]
    assert table[2:] == ["| **no &#124; peaks** | 300 | 11 |", "| **t0** | 20 | 80 |"]
    assert "(get-artifact?path=plots%2Fconfusion_matrix.png&run_uuid={run_id})" in note


def test_results_of_an_earlier_version_have_a_note_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text("data: {raw: mine}\n")
    monkeypatch.chdir(tmp_path)
    assert "`mine`" in runs.note(METRICS, TAGS)
