"""Each message is one line, and its cure, applied, works."""

import contextlib
import http.server
import json
import re
import shlex
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import mlflow
import pytest

from tests.conftest import lay_store
from xtcav_ml.system.errors import DiskFull, UserError
from xtcav_ml.tracking import mlflow_store, store_problems
from xtcav_ml.tracking.mlflow_names import store_uri


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    lay_store(tmp_path)
    return tmp_path


def problem(root):
    """Return the line with which a connection to the store is refused."""
    with pytest.raises(UserError) as error:
        mlflow_store.connect(root)
    line = str(error.value)
    assert "\n" not in line
    return line


def run_cure(line):
    """Run the first command of a cure, with this Python's programs."""
    command = re.findall("`([^`]*)`", line.partition("Fix: ")[2])[0]
    command = command.replace(".venv/bin/", shlex.quote(f"{Path(sys.executable).parent}/"))
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)


@pytest.mark.thorough
def test_a_deleted_experiment_is_restored(project):
    client, experiment = mlflow_store.connect(project)
    client.delete_experiment(experiment)
    line = problem(project)
    assert line.startswith("experiment xtcav: deleted")
    run_cure(line)
    assert mlflow_store.connect(project)[1] == experiment


def test_a_database_that_another_process_locks_is_in_use():
    line = store_problems.no_answer("sqlite:////a/mlflow.db", "(sqlite3.OperationalError) database is locked")
    assert re.match(r"sqlite:////a/mlflow\.db: in use .*database is locked.*Fix: wait for that process", line)


def test_a_store_on_a_full_disk_is_named(project):
    said = r"^sqlite:///.*mlflow\.db: not usable .*disk is full.*Fix: make room"
    with pytest.raises(DiskFull, match=said), mlflow_store.answering(project):
        raise mlflow.MlflowException("(sqlite3.OperationalError) database or disk is full")


def contents(database):
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return list(connection.iterdump())


def test_a_database_of_a_newer_mlflow_is_moved_away(project):
    database = project / "mlruns/mlflow.db"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'fedcba987654'")
    before = contents(database)
    line = problem(project)
    assert line.startswith(f"{database}: written by a newer MLflow (found schema 'fedcba987654'")
    assert contents(database) == before
    database.rename(project / "away.db")
    lay_store(project)
    mlflow_store.connect(project)


@pytest.mark.thorough
def test_a_database_of_an_older_mlflow_is_upgraded(project, monkeypatch):
    from mlflow.store.db import utils

    head = utils._get_latest_schema_revision()
    older = "0" * 12
    monkeypatch.setattr(mlflow, "MlflowClient", lambda uri: _Refusing(older, head))
    line = problem(project)
    assert line.startswith(f"{store_uri(project)}: schema of an older MLflow (found {older}, expected {head})")
    monkeypatch.undo()
    run_cure(line)
    mlflow_store.connect(project)


class _Refusing:
    """A client whose store MLflow refuses with its own words."""

    def __init__(self, older, head):
        self.older, self.head = older, head

    def get_experiment_by_name(self, name):
        engine = type("Engine", (), {})
        from mlflow.store.db import utils

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(utils, "_get_schema_version", lambda _: self.older)
            utils._verify_schema(engine)


class _Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        experiment = {"experiment_id": "7", "name": "xtcav", "lifecycle_stage": "active", "artifact_location": "/a"}
        body = json.dumps({"experiment": experiment}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_a_proxy_that_catches_the_server_is_bypassed(tmp_path, monkeypatch):
    for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        line = problem(tmp_path)
        assert line.startswith("NO_PROXY: ")
        assert "secret" not in line
        name, value = re.findall("`export ([^`=]*)=([^`]*)`", line)[0]
        monkeypatch.setenv(name, value)
        assert mlflow_store.connect(tmp_path)[1] == "7"
        server.shutdown()


def test_without_a_proxy_the_cure_is_to_start_the_server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert "Fix: start the server" in store_problems.no_answer("http://127.0.0.1:1", "refused")
