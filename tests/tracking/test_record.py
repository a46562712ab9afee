"""Results on disk into MLflow, in a workspace as DVC has it, but of small files."""

import json
from types import SimpleNamespace

import pytest
import requests
from mlflow import MlflowClient

from tests.conftest import stored_runs
from xtcav_ml.data import model_file
from xtcav_ml.tracking import record, runs
from xtcav_ml.tracking.registry import versions
from xtcav_ml.tracking.tracker import Tracker

METRICS = {"accuracy": 0.7, "accuracy_low": 0.6, "accuracy_high": 0.8, "shots": 72, "regression": {}}


@pytest.fixture
def results(workspace, monkeypatch):
    """What evaluate leaves, and a model that MLflow's part of is left out."""
    folder = workspace / "results"
    (folder / "plots").mkdir(parents=True)
    for name in ("predictions.csv", "plots/confusion_matrix.png", "plots/frames.png"):
        (folder / name).write_text("content")
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    (folder / "history.jsonl").write_text('{"epoch": 1, "val_accuracy": 0.5}\n{"epoch": 2, "val_accuracy": 0.6}\n')
    (workspace / "model.keras").write_text("weights")
    kept = []
    monkeypatch.setattr(model_file, "read_spec", lambda path: SimpleNamespace(path=path))
    monkeypatch.setattr(versions, "log_model", lambda run_id, path, meaning, versions: kept.append((run_id, path.name)))
    return SimpleNamespace(folder=folder, models=kept, model=workspace / "model.keras", root=workspace)


def recorded(results):
    record.record(results.model, results.folder / "history.jsonl", results.folder)


def address(results):
    return json.loads((results.folder / "resources/run.json").read_text())


def trained(results):
    with runs.training("CPU") as run:
        run.on_epoch(1, {"val_accuracy": 0.6}, {})
        runs.log_model(run.run, results.model)
    return run.run


def test_a_run_that_the_store_does_not_know_is_made_anew_once(results):
    recorded(results)
    (found,) = stored_runs(results.root)
    assert found.info.status == "FINISHED"
    expected = {
        "accuracy/validation": 0.6,
        "accuracy/test": 0.7,
        "test/accuracy_low": 0.6,
        "test/accuracy_high": 0.8,
        "test/shots": 72,
    }
    assert found.data.metrics == expected
    assert [row.step for row in MlflowClient().get_metric_history(found.info.run_id, "accuracy/validation")] == [1, 2]
    assert (found.data.tags["rebuilt"], found.data.tags["stage"]) == ("true", "train")
    assert (
        "**Test accuracy 70.0%** (95 % interval 60.0% to 80.0%) on 72 shots" in found.data.tags["mlflow.note.content"]
    )
    assert found.data.params["train.model.name"] == "convnet"
    assert results.models == [(found.info.run_id, "model.keras")]
    assert address(results)["run_id"] == found.info.run_id
    pictures = MlflowClient().list_artifacts(found.info.run_id, "plots")
    assert [file.path for file in pictures] == ["plots/confusion_matrix.png", "plots/frames.png"]
    recorded(results)
    assert len(stored_runs(results.root)) == 1


def test_what_is_there_is_found_without_mlflow_and_left_alone(results, monkeypatch):
    recorded(results)
    before = stored_runs(results.root)[0].to_dictionary()
    monkeypatch.setattr(record, "_upload", lambda *_: pytest.fail("it is there: MLflow was imported for nothing"))
    recorded(results)
    assert stored_runs(results.root)[0].to_dictionary() == before


def test_an_evaluation_goes_to_the_run_of_its_training_and_a_new_one_too(results):
    run = trained(results)
    ended = stored_runs(results.root)[0].info.end_time
    recorded(results)
    (results.folder / "metrics.json").write_text(json.dumps({**METRICS, "accuracy": 0.75}))
    recorded(results)
    (found,) = stored_runs(results.root)
    assert (found.info.run_id, found.info.end_time, found.info.status) == (run.run_id, ended, "FINISHED")
    rows = MlflowClient().get_metric_history(run.run_id, "accuracy/test")
    assert [(row.step, row.value) for row in rows] == [(0, 0.7), (1, 0.75)]
    assert "rebuilt" not in found.data.tags


def test_a_run_is_found_by_the_model_that_it_made(results):
    for content in ("of a CPU", "of a GPU"):  # the same key: parameters, data and code are the same
        results.model.write_text(content)
        trained(results)
    results.model.write_text("of a CPU")
    recorded(results)
    first, second = stored_runs(results.root)
    assert first.data.metrics["accuracy/test"] == 0.7
    assert "accuracy/test" not in second.data.metrics


def test_a_store_that_is_down_gets_training_and_test_metrics_when_it_is_back(results, monkeypatch, capsys):
    def refuse(*_, **__):
        raise requests.ConnectionError("no answer")

    with monkeypatch.context() as patch:
        for name in ("create_run", "search_runs"):
            patch.setattr(MlflowClient, name, refuse)
        trained(results)
        for _ in range(2):
            recorded(results)
    assert not (results.folder / "resources/run.json").exists()
    assert "mlruns/journal: " in capsys.readouterr().err
    with Tracker(results.root):
        pass
    (found,) = stored_runs(results.root)
    assert found.info.status == "FINISHED"
    assert [row.step for row in MlflowClient().get_metric_history(found.info.run_id, "accuracy/test")] == [0]
    recorded(results)
    assert address(results)["run_id"] == found.info.run_id
    assert len(stored_runs(results.root)) == 1


def test_a_store_that_cannot_even_be_asked_is_one_line(results, monkeypatch, capsys):
    def refuse(*_, **__):
        raise requests.ConnectionError("no answer")

    monkeypatch.setattr(MlflowClient, "search_runs", refuse)
    recorded(results)
    (line,) = capsys.readouterr().err.splitlines()
    assert "run not recorded (found 'no answer'" in line
    assert "`xtcav record`" in line
    assert not (results.folder / "resources/run.json").exists()
