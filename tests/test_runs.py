"""A stage's run in MLflow, in a workspace as DVC has it, but of two small files."""

import json
from types import SimpleNamespace

import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from ruamel.yaml import YAML

from tests.conftest import lay_store
from xtcav_ml import lineage, registry, resources, runs, store, tracking
from xtcav_ml.params.base import read_tree


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    stages = {"train": {"cmd": "x", "params": ["train"], "deps": ["a.py", "train.h5"]}}
    with (tmp_path / "dvc.yaml").open("w") as file:
        YAML().dump({"stages": stages}, file)
    (tmp_path / "params.yaml").write_text(
        "train: {model: {name: convnet}}\nprepare: {include: {'gate[0]': 1}}\ndata: {raw: mine}\n"
    )
    lay_store(tmp_path)
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
    client, experiment = store.connect(workspace)
    return list(client.search_runs([experiment], order_by=["attributes.start_time ASC"]))


def test_a_training_leaves_a_run_with_its_parameters_and_its_end(workspace):
    with runs.training("CPU") as run, resources.measured("train"):
        run.on_epoch(1, {"val_accuracy": 0.5}, {"train": 2.0})
    (found,) = stored(workspace)
    assert found.info.status == "FINISHED"
    assert found.data.params == {"train.model.name": "convnet", "prepare.include.gate_0_": "1", "data.raw": "mine"}
    values = found.data.metrics
    assert {name: values[name] for name in values if "usage/" not in name} == {
        "val_accuracy": 0.5,
        "seconds/train": 2.0,
    }
    assert values["usage/max_memory_mb"] > 10
    assert found.data.tags["device"] == "CPU"
    assert found.data.tags[tracking.KEY_TAG] == lineage.of_stage("train").key


@pytest.mark.parametrize("folder", ["data/raw/simulated", "data/raw/simulated/", "./data/raw/simulated"])
def test_a_run_on_simulated_shots_has_their_parameters(workspace, folder):
    (workspace / "params.yaml").write_text(
        f"train: {{model: {{name: convnet}}}}\nprepare: {{label: x}}\ndata: {{raw: {folder}}}\nsimulate: {{seed: 5}}\n"
    )
    read_tree.cache_clear()
    with runs.training("CPU"):
        pass
    assert stored(workspace)[0].data.params["simulate.seed"] == "5"


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (RuntimeError, "FAILED")])
def test_a_run_says_how_it_ended(workspace, error, status):
    with pytest.raises(error), runs.training("CPU"):
        raise error
    assert [run.info.status for run in stored(workspace)] == [status]


def test_parameters_that_the_store_does_not_take_stop_no_training(workspace, monkeypatch, capsys):
    def refuse(*_, **__):
        raise MlflowException("too long")

    monkeypatch.setattr(MlflowClient, "log_batch", refuse)
    with runs.training("CPU") as run, resources.measured("train"):
        run.on_epoch(1, {"val_accuracy": 0.5}, {})
    assert [run.info.status for run in stored(workspace)] == ["FINISHED"]
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" of run ")[0] for line in said] == [
        f"xtcav: MLflow did not take {what}" for what in ("params", "tags", "metrics", "metrics")
    ]
    assert all(line.endswith(": too long") for line in said)


def test_a_run_that_is_stopped_while_it_is_begun_is_ended(workspace, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tracking.Run, "params", stop)
    with pytest.raises(KeyboardInterrupt), runs.training("CPU"):
        pass
    assert [run.info.status for run in stored(workspace)] == ["KILLED"]


def test_a_model_that_the_store_does_not_take_is_told_and_stops_no_training(workspace, monkeypatch, capsys):
    def refuse(*_):
        raise MlflowException("too large")

    monkeypatch.setattr(registry, "log_model", refuse)
    monkeypatch.setattr(runs.models, "meaning_of", lambda path: SimpleNamespace(path=path))
    with runs.training("CPU") as run:
        runs.log_model(run.run, workspace / "a.py")
    (found,) = stored(workspace)
    assert found.info.status == "FINISHED"
    assert f"MLflow did not take the model of run {found.info.run_id}: too large" in capsys.readouterr().err


@pytest.fixture
def results(workspace, monkeypatch):
    """What evaluate leaves, the address of an earlier run with it, and the names of the models that were stored."""
    address = workspace / "results/resources/run.json"
    address.parent.mkdir(parents=True)
    address.write_text('{"run_id": "of an earlier run"}')
    for name in ("results/metrics.json", "results/predictions.csv", "model.keras"):
        (workspace / name).write_text("content")
    kept = []
    monkeypatch.setattr(runs.models, "meaning_of", lambda path: SimpleNamespace(path=path))
    monkeypatch.setattr(registry, "log_model", lambda run_id, path, meaning, versions: kept.append((run_id, path.name)))
    return SimpleNamespace(address=address, models=kept, model=workspace / "model.keras")


def test_a_run_that_the_store_does_not_know_is_made_anew_with_its_model(workspace, results):
    runs.evaluated({"accuracy": 0.7}, [{"val_accuracy": 0.5}, {"val_accuracy": 0.6}], [], results.model)
    (found,) = stored(workspace)
    assert found.info.status == "FINISHED"
    assert found.data.metrics == {"val_accuracy": 0.6, "test_accuracy": 0.7}
    assert found.data.tags["rebuilt"] == "true"
    assert results.models == [(found.info.run_id, "model.keras")]
    assert json.loads(results.address.read_text())["run_id"] == found.info.run_id


@pytest.mark.parametrize("error", [MlflowException, requests.ConnectionError])
def test_a_store_that_fails_leaves_no_address_of_an_earlier_run(results, monkeypatch, capsys, error):
    def refuse(*_):
        raise error("no answer")

    monkeypatch.setattr(tracking.Run, "find", refuse)
    runs.evaluated({"accuracy": 0.7}, [{"val_accuracy": 0.5}], [], results.model)
    assert not results.address.exists()
    assert "MLflow did not take the evaluation: no answer" in capsys.readouterr().err


def test_a_run_is_found_by_the_model_that_it_made(workspace, results):
    for content in ("of a CPU", "of a GPU"):  # the same key: parameters, data and code are the same
        results.model.write_text(content)
        with runs.training("CPU") as run:
            runs.log_model(run.run, results.model)
    results.model.write_text("of a CPU")
    runs.evaluated({"accuracy": 0.7}, [{"val_accuracy": 0.5}], [], results.model)
    first, second = stored(workspace)
    assert first.data.metrics["test_accuracy"] == 0.7
    assert "test_accuracy" not in second.data.metrics
