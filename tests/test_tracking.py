from pathlib import Path

import mlflow
import pytest
import requests

from tests.conftest import lay_store
from xtcav_ml import tracking
from xtcav_ml.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    lay_store(folder)
    return folder


@pytest.fixture(autouse=True)
def _local_store(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_a_run_keeps_what_it_is_told(root, tmp_path):
    run = tracking.Run.start(root, "one", {tracking.KEY_TAG: "k1"})
    run.params({f"p{i}": i for i in range(150)})
    run.metrics({"accuracy": 0.5}, step=1)
    run.metrics({"accuracy": 0.75}, step=2)
    (tmp_path / "note.txt").write_text("hello")
    run.artifact(tmp_path / "note.txt", "notes")
    run.dataset("train.h5", "0" * 32, Path("data/train.h5"), "training")
    run.finish()
    stored = run.client.get_run(run.run_id)
    assert stored.info.status == "FINISHED"
    assert len(stored.data.params) == 150
    assert stored.data.metrics == {"accuracy": 0.75}
    assert stored.inputs.dataset_inputs[0].dataset.digest == "0" * 32
    assert (root / "mlruns/artifacts" / run.run_id / "artifacts/notes/note.txt").read_text() == "hello"


def test_names_that_mlflow_does_not_take_are_changed(root):
    run = tracking.Run.start(root, "names", {})
    run.params({"prepare.include.gate[0]": 1})
    run.metrics({"test_energy (MeV)/é_rms_error": 2.0})
    stored = run.client.get_run(run.run_id).data
    assert stored.params == {"prepare.include.gate_0_": "1"}
    assert stored.metrics == {"test_energy _MeV_/é_rms_error": 2.0}


def test_the_newest_living_run_of_a_key_is_found(root):
    models = {"old": "m", "new": "m", "of another device": "n", "failed": "m"}
    made = {
        name: tracking.Run.start(root, name, {tracking.KEY_TAG: "k2", tracking.MODEL_TAG: model})
        for name, model in models.items()
    }
    for name, run in made.items():
        run.finish("FAILED" if name == "failed" else "FINISHED")
    found = tracking.Run.find(root, "k2", "m")
    assert found is not None
    assert found.run_id == made["new"].run_id
    assert tracking.Run.find(root, "k3", "m") is None
    assert tracking.Run.find(root, "k2", "o") is None


@pytest.mark.parametrize(
    "error", [requests.HTTPError("413 Too Large"), PermissionError(), mlflow.MlflowException("no")]
)
def test_what_a_store_does_not_take_is_told_and_not_raised(root, tmp_path, monkeypatch, capsys, error):
    def refuse(*_, **__):
        raise error

    run = tracking.Run.start(root, "refused", {})
    for name in ("log_artifact", "log_batch", "set_terminated", "log_inputs"):
        monkeypatch.setattr(mlflow.MlflowClient, name, refuse)
    run.params({"a": 1})
    run.metrics({"a": 1.0})
    run.tags({"a": "b"})
    run.dataset("train.h5", "0", tmp_path, "training")
    run.artifact(tmp_path / "note.txt")
    run.finish()
    said = capsys.readouterr().err
    assert [line.split()[5] for line in said.splitlines() if line.startswith("xtcav: ")] == [
        *("params", "metrics", "tags", "dataset", "artifact", "finish")
    ]


def test_a_store_that_takes_no_new_run_is_one_line(root, monkeypatch):
    def refuse(*_, **__):
        raise mlflow.MlflowException("read only")

    monkeypatch.setattr(mlflow.MlflowClient, "create_run", refuse)
    with pytest.raises(UserError, match=r"must name a store that answers, got 'sqlite:.*\(read only\)"):
        tracking.Run.start(root, "one", {})


def test_children_name_their_parent_and_unknown_runs_are_none(root):
    parent = tracking.Run.start(root, "parent", {})
    child = tracking.Run.start(root, "child", {}, parent=parent.run_id)
    assert child.client.get_run(child.run_id).data.tags["mlflow.parentRunId"] == parent.run_id
    assert tracking.Run.resume(root, "0" * 32) is None
    parent.finish()
    resumed = tracking.Run.resume(root, parent.run_id)
    assert resumed is not None
    assert resumed.client.get_run(parent.run_id).info.status == "RUNNING"
