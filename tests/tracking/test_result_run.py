"""The run of the results in the workspace is found by what they are, in MLflow's database and on its server."""

import base64
import http.server
import json
import threading

import pytest
from mlflow import MlflowClient

from tests.conftest import lay_store
from xtcav_ml.lineage import lineage
from xtcav_ml.tracking import result_run
from xtcav_ml.tracking.mlflow_names import EVALUATION_TAG, MODEL_TAG

TAGS = {"lineage.key": "k" * 32, MODEL_TAG: "m" * 32, EVALUATION_TAG: "e" * 32}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store with # and spaces")
    lay_store(folder)
    return folder, MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")


def a_run(client, status="FINISHED", **tags):
    run_id = client.create_run("0", tags={**TAGS, **tags}).info.run_id
    client.set_terminated(run_id, status)
    return run_id


def test_the_newest_finished_run_with_all_the_tags_is_found(store):
    root, client = store
    wanted = {**TAGS, "lineage.key": "finished"}
    assert result_run.finished(root, wanted) is None
    a_run(client, **wanted)
    newest = a_run(client, **wanted, other="x")
    for tags in ({MODEL_TAG: "other"}, {EVALUATION_TAG: "other"}):
        a_run(client, **{**wanted, **tags})
    a_run(client, "FAILED", **wanted)
    client.delete_run(a_run(client, **wanted))
    assert result_run.finished(root, wanted) == {"run_id": newest, "experiment_id": "0", "store": "mlruns/mlflow.db"}
    assert result_run.finished(root, {**wanted, "more": "x"}) is None


def lay(root, metrics, model):
    """Lay results and the lock of the commands that made them; return the tags of their run."""
    files = {"results/evaluation.json": metrics, "models/model.keras": model}
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    md5s = [{"path": name, "md5": lineage.file_md5(root / name)} for name in files]
    (root / "dvc.lock").write_text(json.dumps({"stages": {"evaluate": {"deps": md5s[1:], "outs": md5s[:1]}}}))
    return {EVALUATION_TAG: md5s[0]["md5"], MODEL_TAG: md5s[1]["md5"]}


def test_it_follows_the_results_through_checkouts(store):
    root, client = store
    runs = {name: a_run(client, **lay(root, f"metrics {name}", f"model {name}")) for name in "ab"}

    def found():
        return (result_run.find(root) or {}).get("run_id")

    assert found() == runs["b"]
    lay(root, "metrics a", "model a")  # dvc checkout
    assert found() == runs["a"]
    (root / "models/model.keras").write_text("model b")  # git checkout alone: metrics and lock, but not the model
    assert found() == runs["a"]
    (root / "models/model.keras").unlink()
    assert found() == runs["a"]
    (root / "results/evaluation.json").write_text("edited")
    assert found() is None


def test_of_a_store_that_does_not_answer_it_is_what_record_wrote_of_these_results(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert result_run.find(tmp_path) is None
    address = {"run_id": "7", "experiment_id": "1", "store": "http://127.0.0.1:1", **lay(tmp_path, "a", "b")}
    (tmp_path / "results/resources").mkdir()
    (tmp_path / "results/resources/run.json").write_text(json.dumps(address))
    assert result_run.find(tmp_path) == address
    lay(tmp_path, "c", "b")
    assert result_run.find(tmp_path) is None


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:1", "http://alice:secret@[", "http://host:port", "postgresql://nowhere/db"]
)
def test_a_store_that_cannot_be_asked(tmp_path, monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(result_run.UNANSWERED):
        result_run.finished(tmp_path, TAGS)


def test_a_database_that_is_not_there_is_not_made_and_a_damaged_one_is_not_read(tmp_path):
    for content in (None, "no database" * 100):
        if content:
            (tmp_path / "mlruns").mkdir()
            (tmp_path / "mlruns/mlflow.db").write_text(content)
        with pytest.raises(result_run.UNANSWERED):
            result_run.finished(tmp_path, TAGS)
        assert (tmp_path / "mlruns").exists() == bool(content)


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers as MLflow's server does to `alice`: run 7 has TAGS."""

    def answer(self, content):
        token = base64.b64encode(b"alice:secret").decode()
        allowed = self.headers.get("Authorization") == f"Basic {token}"
        self.send_response(200 if allowed else 401)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode() if allowed else b"")

    def do_GET(self):
        found = self.path.endswith("experiments/get-by-name?experiment_name=xtcav")
        self.answer({"experiment": {"experiment_id": "5"}} if found else {})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        wanted = ["attributes.status = 'FINISHED'", *(f"tags.`{name}` = '{value}'" for name, value in TAGS.items())]
        found = asked["experiment_ids"] == ["5"] and asked["filter"] == " and ".join(wanted)
        self.answer({"runs": [{"info": {"run_id": "7", "experiment_id": "5"}}]} if found else {})

    def log_message(self, *_):
        pass


def test_a_server_is_asked_with_the_credentials_of_the_address_or_the_environment(tmp_path, monkeypatch):
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(result_run.UNANSWERED):
            result_run.finished(tmp_path, TAGS)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "alice")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
        assert result_run.finished(tmp_path, TAGS) == {"run_id": "7", "experiment_id": "5", "store": uri}
        assert result_run.finished(tmp_path, {**TAGS, MODEL_TAG: "other"}) is None
        monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
        monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.replace("://", "://alice:secret@"))
        assert result_run.finished(tmp_path, TAGS)["run_id"] == "7"
        server.shutdown()
