import json
import socket
import sqlite3

import mlflow
import pytest
import requests

from tests.conftest import StoredRun, lay_store
from xtcav_ml.system.errors import UserError
from xtcav_ml.tracking import mlflow_store


@pytest.fixture(autouse=True)
def _local_store(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_the_store_is_in_the_project_unless_the_environment_names_another(root, monkeypatch):
    assert mlflow_store.store_uri(root) == f"sqlite:///{root}/mlruns/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert mlflow_store.store_uri(root) == "http://127.0.0.1:1"


def test_a_damaged_database_is_one_line(tmp_path):
    database = tmp_path / "mlruns/mlflow.db"
    database.parent.mkdir()
    database.write_bytes(b"no database at all, but of some length" * 100)
    with pytest.raises(UserError, match=r"mlflow\.db: .*'file is not a database'"):
        mlflow_store.connect(tmp_path)


def test_a_password_in_the_address_is_masked():
    assert mlflow_store.masked("postgresql://me:secret@host/db") == "postgresql://***@host/db"
    assert mlflow_store.masked("http://me:pass@word@host") == "http://***@host"
    assert mlflow_store.masked("sqlite:////a@b/mlflow.db") == "sqlite:////a@b/mlflow.db"


def test_a_password_is_in_no_message(root, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://alice:secret@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=r"http://\*\*\*@127") as error:
        mlflow_store.connect(tmp_path)
    assert "secret" not in str(error.value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    message = "401 for http://alice:secret@host/api"

    def refuse(*_):
        raise requests.HTTPError(message)

    monkeypatch.setattr(mlflow.MlflowClient, "download_artifacts", refuse)
    with pytest.raises(UserError, match=r"401 for http://\*\*\*@host/api") as error:
        mlflow_store.download(root, "0" * 32, "predictions.csv", tmp_path)


def test_readers_do_not_block_writers(root):
    mlflow_store.connect(root)
    with sqlite3.connect(root / "mlruns/mlflow.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_view_is_of_the_data_of_the_newest_training(tmp_path, monkeypatch, capsys):
    lay_store(tmp_path)
    monkeypatch.setattr(mlflow_store.mlflow_ui, "become", lambda *_: None)
    for data, stage in (("data/raw/simulated", "train"), ("mine", "train"), ("others", "trial")):
        StoredRun(tmp_path, stage=stage).params({"data.raw": data})
    mlflow_store.serve_ui(tmp_path, "127.0.0.1", 0)
    client, experiment = mlflow_store.connect(tmp_path)
    state = json.loads(client.get_experiment(experiment).tags["mlflow.sharedViewState.xtcav"])
    runs = client.search_runs([experiment], state["searchFilter"])
    assert [run.data.params["data.raw"] for run in runs] == ["mine"]
    for data in ("", "it's"):  # which no filter can hold
        assert mlflow_store.view_state(data)["searchFilter"] == "tags.stage = 'train'"


def test_the_page_opens_our_view_or_all_runs_of_a_store_that_one_may_only_read(root, monkeypatch, capsys):
    monkeypatch.setattr(mlflow_store.mlflow_ui, "become", lambda *_: None)
    mlflow_store.serve_ui(root, "127.0.0.1", 0)
    assert "workflowType=machine_learning&viewStateShareKey=xtcav (" in capsys.readouterr().out
    client, experiment = mlflow_store.connect(root)
    state = json.loads(client.get_experiment(experiment).tags["mlflow.sharedViewState.xtcav"])
    assert state["orderByKey"] == "metrics.`accuracy`"
    assert "params.`train.optimizer.learning_rate`" in state["selectedColumns"]

    def refuse(*_):
        raise mlflow.MlflowException("denied")

    monkeypatch.setattr(mlflow.MlflowClient, "set_experiment_tag", refuse)
    mlflow_store.serve_ui(root, "::1", 0)
    said = capsys.readouterr().out
    assert said.startswith("MLflow UI on http://[::1]:0/#/")
    assert "workflowType=machine_learning (" in said


def test_an_experiment_that_another_process_creates_meanwhile_is_the_one(root, monkeypatch):
    _, theirs = mlflow_store.connect(root, "new")
    found, answers = mlflow.MlflowClient.get_experiment_by_name, iter([None])
    monkeypatch.setattr(
        mlflow.MlflowClient, "get_experiment_by_name", lambda client, name: next(answers, found(client, name))
    )
    assert mlflow_store.connect(root, "new")[1] == theirs


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "a whole number"),
        ("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "a number"),
        ("MLFLOW_TRACKING_INSECURE_TLS", "true or false"),
    ],
)
def test_a_variable_that_mlflow_cannot_read_is_named_before_anything_is_asked(root, monkeypatch, name, kind):
    monkeypatch.setenv(name, "soon")
    with pytest.raises(UserError, match=rf"^{name}: .*'soon', expected {kind}\). Fix: unset {name}$"):
        mlflow_store.connect(root)


def test_a_port_that_is_taken_is_named_before_mlflow_starts(root, monkeypatch):
    monkeypatch.setattr(mlflow_store.mlflow_ui, "become", lambda *_: pytest.fail("MLflow starts"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"^--port: {port} cannot be used"):
            mlflow_store.serve_ui(root, "127.0.0.1", port)
