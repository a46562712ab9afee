"""A stage's run in MLflow, in a workspace as DVC has it, but of two small files."""

import pytest
from mlflow.exceptions import MlflowException
from ruamel.yaml import YAML

from xtcav_ml import lineage, runs, tracking
from xtcav_ml.params.base import read_tree


class Sampler:
    def summary(self):
        return {"run_time_s": 1.5}


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    stages = {"train": {"cmd": "x", "params": ["train"], "deps": ["a.py", "train.h5"]}}
    with (tmp_path / "dvc.yaml").open("w") as file:
        YAML().dump({"stages": stages}, file)
    (tmp_path / "params.yaml").write_text(
        "train: {model: {name: convnet}}\nprepare: {include: {'gate[0]': 1}}\ndata: {raw: mine}\n"
    )
    (tmp_path / "a.py").write_text("code")
    (tmp_path / "train.h5").write_text("data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    read_tree.cache_clear()
    yield tmp_path
    read_tree.cache_clear()


def stored(workspace):
    """Return all runs in the store, oldest first."""
    client, experiment = tracking.connect(workspace)
    return list(client.search_runs([experiment], order_by=["attributes.start_time ASC"]))


def test_a_training_leaves_a_run_with_its_parameters_and_its_end(workspace):
    with runs.training(Sampler()) as run:
        run.on_epoch(1, {"val_accuracy": 0.5}, {"train": 2.0})
    (found,) = stored(workspace)
    assert found.info.status == "FINISHED"
    assert found.data.params == {"train.model.name": "convnet", "prepare.include.gate_0_": "1", "data.raw": "mine"}
    assert found.data.metrics == {"val_accuracy": 0.5, "seconds/train": 2.0, "usage/run_time_s": 1.5}
    assert found.data.tags[tracking.KEY_TAG] == lineage.of_stage("train").key


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (RuntimeError, "FAILED")])
def test_a_run_says_how_it_ended(workspace, error, status):
    with pytest.raises(error), runs.training(Sampler()):
        raise error
    assert [run.info.status for run in stored(workspace)] == [status]


def test_parameters_that_the_store_does_not_take_stop_no_training(workspace, monkeypatch, capsys):
    def refuse(*_):
        raise MlflowException("too long")

    monkeypatch.setattr(tracking.Run, "params", refuse)
    with runs.training(Sampler()):
        pass
    assert [run.info.status for run in stored(workspace)] == ["FINISHED"]
    assert "MLflow did not take parameters and data: too long" in capsys.readouterr().err


def test_a_run_that_is_stopped_while_it_is_begun_is_ended(workspace, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tracking.Run, "params", stop)
    with pytest.raises(KeyboardInterrupt), runs.training(Sampler()):
        pass
    assert [run.info.status for run in stored(workspace)] == ["KILLED"]
