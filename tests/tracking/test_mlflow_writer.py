"""Journals through a network that fails, to a real MLflow server: nothing lost, nothing doubled, one run."""

import threading

import mlflow
import pytest

from tests.flaky import FAULTS, Proxy
from tests.servers import Server
from xtcav_ml.tracking import journal, mlflow_writer, uploader
from xtcav_ml.tracking.tracker import Tracker

EPOCHS, KEYS = 105, [f"value_{i}" for i in range(20)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def impatient(monkeypatch):
    """Shorter waits, and more and smaller requests, than a user has."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(uploader, "BATCH_PAUSE", 0.005)
    monkeypatch.setattr(uploader, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(mlflow_writer, "REQUEST_VALUES", {**mlflow_writer.REQUEST_VALUES, "metrics": 60})


def runs(server, experiment):
    """Return all runs, asked of the server itself."""
    client = mlflow.MlflowClient(server.url)
    return client, client.search_runs([client.get_experiment_by_name(experiment).experiment_id])


def test_thirty_percent_of_requests_fail_and_the_server_restarts_twice(tmp_path, server, impatient, monkeypatch):
    with Proxy(server.port, rate=0.3, seed=3, stall=1.2) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
        (tmp_path / "note.txt").write_text("hello")
        with Tracker(tmp_path, experiment="flaky") as tracker:
            run = tracker.start("one", {"stage": "train"})
            run.params({f"p{i}": i for i in range(150)})
            run.artifact(tmp_path / "note.txt", "notes")
            for epoch in range(1, EPOCHS + 1):
                run.metrics({key: epoch + i / 100 for i, key in enumerate(KEYS)}, step=epoch)
                if epoch in (EPOCHS // 3, 2 * EPOCHS // 3):
                    server.kill()
                    server.start()
            run.dataset("train.h5", "0" * 32, "train.h5", "training")
            run.tags({"late": "yes"})
            run.finish()
        for _ in range(10):  # whoever comes next sends what is left
            if any(journal.folder_of(tmp_path).iterdir()):
                with Tracker(tmp_path):
                    pass
        proxy.shutdown()
    assert not list(journal.folder_of(tmp_path).iterdir())
    assert all(proxy.seen[fault] for fault in FAULTS)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # what follows asks the server itself
    client, (found,) = runs(server, "flaky")
    assert found.info.status == "FINISHED"
    for i, key in enumerate(KEYS):
        rows = sorted((row.step, row.value) for row in client.get_metric_history(found.info.run_id, key))
        assert rows == [(epoch, epoch + i / 100) for epoch in range(1, EPOCHS + 1)]
    assert len(found.data.params) == 150
    assert found.data.tags["late"] == "yes"
    assert found.inputs.dataset_inputs[0].dataset.digest == "0" * 32
    assert client.download_artifacts(found.info.run_id, "notes/note.txt", str(tmp_path)).endswith("note.txt")


def test_an_upload_that_takes_longer_than_any_patience_arrives(tmp_path, server, monkeypatch, capsys):
    """Without more time the second request would end as the first, and so on: the file would never arrive."""
    with Proxy(server.port, rate=0, seed=0, stall=0, slow=3) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
        for name in uploader.REQUEST:
            monkeypatch.setenv(name, "as before")  # what the uploader sets goes with the test
            monkeypatch.delenv(name)
        monkeypatch.setitem(uploader.REQUEST, uploader.TIMEOUT, "1")
        monkeypatch.setattr(uploader, "FAILING_SECONDS", 0.3)
        monkeypatch.setattr(uploader, "SILENT_SECONDS", 0.3)
        monkeypatch.setattr(uploader, "NOTICE_SECONDS", 0.1)
        (tmp_path / "note.txt").write_text("hello")
        with Tracker(tmp_path, experiment="slow") as tracker:
            run = tracker.start("one", {"stage": "train"})
            run.artifact(tmp_path / "note.txt")
            run.finish()
        proxy.shutdown()
    client, (found,) = runs(server, "slow")
    assert [file.path for file in client.list_artifacts(found.info.run_id)] == ["note.txt"]
    assert found.info.status == "FINISHED"
    assert not list(journal.folder_of(tmp_path).iterdir())
    assert "Ctrl-C leaves the rest in mlruns/journal" in capsys.readouterr().out
