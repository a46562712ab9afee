"""What is asked of a store without MLflow, of stores that MLflow has written."""

import base64
import http.server
import json
import threading

import mlflow
import pytest

from tests.conftest import lay_store
from xtcav_ml.tracking import quick_check

TAGS = {"lineage.key": "k", "model.md5": "m"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store with # and spaces")
    lay_store(folder)
    uri = f"sqlite:///{folder}/mlruns/mlflow.db"
    return uri, mlflow.MlflowClient(uri)


def a_run(client, status="FINISHED", **tags):
    run_id = client.create_run("0", tags={**TAGS, **tags}).info.run_id
    client.set_terminated(run_id, status)
    return run_id


def test_a_finished_run_with_all_the_tags_is_known(store):
    uri, client = store
    assert quick_check.finished(uri, a_run(client, other="x"), TAGS)


def test_another_a_failed_and_a_deleted_run_are_not(store):
    uri, client = store
    assert not quick_check.finished(uri, a_run(client), {**TAGS, "more": "x"})
    assert not quick_check.finished(uri, a_run(client, **{"model.md5": "other"}), TAGS)
    assert not quick_check.finished(uri, a_run(client, "FAILED"), TAGS)
    deleted = a_run(client)
    client.delete_run(deleted)
    assert not quick_check.finished(uri, deleted, TAGS)
    assert not quick_check.finished(uri, "0" * 32, TAGS)


def test_a_store_that_is_not_there_or_no_database_is_no_error(tmp_path):
    assert not quick_check.finished(f"sqlite:///{tmp_path}/none.db", "0", TAGS)
    (tmp_path / "bad.db").write_text("no database" * 100)
    assert not quick_check.finished(f"sqlite:///{tmp_path}/bad.db", "0", TAGS)
    assert not (tmp_path / "none.db").exists()
    assert not quick_check.finished("http://127.0.0.1:1", "0", TAGS)
    for address in ("http://alice:secret@[", "http://host:port"):
        assert not quick_check.finished(address, "0", TAGS)
    assert not quick_check.finished("postgresql://nowhere/db", "0", TAGS)


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers as MLflow's server does to `alice`, and with `status` and `tags` as they are set."""

    status, stage = "FINISHED", "active"

    def do_GET(self):
        token = base64.b64encode(b"alice:secret").decode()
        allowed = self.headers.get("Authorization") == f"Basic {token}"
        self.send_response(200 if allowed else 401)
        self.end_headers()
        info = {"run_id": self.path.rpartition("=")[2], "status": self.status, "lifecycle_stage": self.stage}
        tags = [{"key": key, "value": value} for key, value in TAGS.items()]
        answer = {"run": {"info": info, "data": {"tags": tags}}} if info["run_id"] == "7" else {}
        self.wfile.write(json.dumps(answer).encode() if allowed else b"")

    def log_message(self, *_):
        pass


def test_a_server_is_asked_once_with_the_credentials_of_the_address_or_the_environment(monkeypatch):
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}/"
        assert not quick_check.finished(uri, "7", TAGS)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "alice")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
        assert quick_check.finished(uri, "7", TAGS)
        assert not quick_check.finished(uri, "8", TAGS)
        monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
        monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
        assert quick_check.finished(uri.replace("://", "://alice:secret@"), "7", TAGS)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "alice")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
        monkeypatch.setattr(Answers, "stage", "deleted")
        assert not quick_check.finished(uri, "7", TAGS)
        server.shutdown()
