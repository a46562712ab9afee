import contextlib
import errno
import random
import shutil
import signal
import socket
import time
from pathlib import Path
from unittest.mock import Mock

import mlflow
import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from tests.conftest import lay_store
from xtcav_ml.system import interrupts
from xtcav_ml.tracking import mlflow_names, mlflow_store, uploader
from xtcav_ml.tracking.journal import folder_of
from xtcav_ml.tracking.tracker import PROBE, Tracker


@pytest.fixture(autouse=True)
def _local_store(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("BATCH_PAUSE", "FIRST_PAUSE", "LAST_PAUSE"):
        monkeypatch.setattr(uploader, name, 0.01)


def stored(root, run):
    """Return a run as MLflow has it."""
    client, experiment = mlflow_store.connect(root)
    (found,) = mlflow_store.search_runs(client, experiment, {mlflow_names.RUN_TAG: run.key})
    return found


def kept(root):
    return [path for path in folder_of(root).iterdir() if not path.name.startswith(".")]


def wait_until(happened):
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_run_keeps_what_is_logged(root, tmp_path, capsys):
    with Tracker(root) as tracker:
        run = tracker.start("one", {mlflow_names.KEY_TAG: "k1"})
        run.params({f"p{i}": i for i in range(150)})
        run.metrics({"accuracy": 0.5}, step=1)
        run.metrics({"accuracy": 0.75}, step=2)
        (tmp_path / "note.txt").write_text("hello")
        run.artifact(tmp_path / "note.txt", "notes")
        run.dataset("train.h5", "0" * 32, "data/train.h5", "training")
        run.finish()
    found = stored(root, run)
    assert found.info.run_id == run.journal.run_id
    assert found.info.status == "FINISHED"
    assert len(found.data.params) == 150
    assert found.data.metrics == {"accuracy": 0.75}
    assert found.inputs.dataset_inputs[0].dataset.digest == "0" * 32
    assert (root / "mlruns/artifacts" / run.journal.run_id / "artifacts/notes/note.txt").read_text() == "hello"
    assert "MLflow: all uploaded to mlruns/mlflow.db" in capsys.readouterr().out
    assert not kept(root)


def test_names_that_mlflow_does_not_take_are_changed(root):
    with Tracker(root) as tracker:
        run = tracker.start("names", {})
        run.params({"prepare.include.gate[0]": 1})
        run.metrics({"regression.energy (MeV)/é.rms_error": 2.0})
        run.finish()
    found = stored(root, run).data
    assert found.params == {"prepare.include.gate_0_": "1"}
    assert found.metrics == {"regression.energy _MeV_/é.rms_error": 2.0}


def test_a_step_is_written_once(root):
    with Tracker(root) as tracker:
        run = tracker.start("one", {})
        for value in (0.5, 0.6):
            run.metrics({"accuracy": value}, step=1)
        run.finish()
    client, _ = mlflow_store.connect(root)
    assert [row.value for row in client.get_metric_history(run.journal.run_id, "accuracy")] == [0.5]


@pytest.mark.parametrize(
    "error",
    [
        mlflow.MlflowException("no", error_code=INVALID_PARAMETER_VALUE),
        requests.HTTPError("413 Too Large", response=type("Answer", (), {"status_code": 413})),
        ValueError("a bug"),
    ],
)
def test_what_a_store_refuses_is_skipped_with_a_message_and_the_rest_arrives(root, monkeypatch, capsys, error):
    real = mlflow.MlflowClient.log_batch

    def refuse(client, run_id, metrics=(), params=(), tags=()):
        if params:
            raise error
        real(client, run_id, metrics, params, tags)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", refuse)
    with Tracker(root) as tracker:
        run = tracker.start("refused", {})
        run.params({"a": 1})
        run.metrics({"a": 1.0})
        run.finish()
    assert (
        f"xtcav: run {run.journal.run_id}: params refused by MLflow, skipped (found {str(error)!r}"
        in capsys.readouterr().err
    )
    found = stored(root, run)
    assert (found.info.status, found.data.metrics, found.data.params) == ("FINISHED", {"a": 1.0}, {})


@pytest.mark.parametrize(
    "error", [requests.ConnectionError("no answer"), PermissionError("no answer"), MlflowException("no answer")]
)
def test_what_may_be_taken_later_is_kept_and_uploaded_by_whoever_is_next(root, monkeypatch, capsys, error):
    def refuse(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "log_batch", refuse)
        with Tracker(root) as tracker:
            run = tracker.start("later", {})
            run.params({"a": 1})
            run.metrics({"a": 1.0})
            run.finish()
    printed = capsys.readouterr().err
    assert (
        "3 entries of 1 runs not uploaded (found 'no answer', expected an answer from MLflow at mlruns/mlflow.db"
        in printed
    )
    assert kept(root)
    with Tracker(root):
        pass
    found = stored(root, run)
    assert (found.info.status, found.data.metrics, found.data.params) == ("FINISHED", {"a": 1.0}, {"a": "1"})
    assert not kept(root)


def test_a_run_is_ended_even_while_the_store_takes_none_of_its_files(root, tmp_path, monkeypatch):
    def full(*_, **__):
        raise requests.HTTPError("507 Insufficient Storage", response=type("Answer", (), {"status_code": 507}))

    (tmp_path / "note.txt").write_text("hello")
    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "log_artifact", full)
        with Tracker(root) as tracker:
            run = tracker.start("one", {})
            run.artifact(tmp_path / "note.txt")
            run.metrics({"a": 1.0})
            run.finish("KILLED")
    first = stored(root, run)
    assert (first.info.status, first.data.metrics) == ("KILLED", {})
    assert kept(root)
    with Tracker(root):
        pass
    found = stored(root, run)
    assert (found.info.status, found.info.end_time, found.data.metrics) == ("KILLED", first.info.end_time, {"a": 1.0})
    assert [file.path for file in mlflow.MlflowClient().list_artifacts(found.info.run_id)] == ["note.txt"]
    assert not kept(root)


def test_a_server_that_accepts_and_never_answers_is_waited_for_once_and_briefly(root, monkeypatch, capsys):
    assert PROBE["http"] == 5  # seconds; here it is less
    monkeypatch.setitem(PROBE, "http", 0.3)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(uploader, "FAILING_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the system accepts, nobody reads
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with Tracker(root) as tracked:
            before = time.monotonic()
            run = tracked.start("one", {})
            waited = time.monotonic() - before
            run.metrics({"a": 1.0})
            run.finish()
            logged = time.monotonic() - before - waited
    assert 0.3 <= waited < 20  # MLflow itself tries for minutes
    assert logged < 20
    printed = capsys.readouterr().err
    assert "mlruns/journal: run data are not uploaded yet" in printed
    assert "3 entries of 1 runs not uploaded" in printed
    (left,) = kept(root)
    shutil.rmtree(left)  # no other test's store is this server


@pytest.mark.parametrize("fails", [True, False])
def test_a_full_disk_is_told_once_by_the_error_of_the_command_or_at_its_end(root, monkeypatch, capsys, fails):
    full = OSError(errno.ENOSPC, "No space left on device", "history.jsonl")
    with contextlib.suppress(OSError), Tracker(root) as tracker:
        monkeypatch.setattr(
            tracker.uploader, "_upload_next", lambda _, journal: journal.acknowledge(journal.size, None, None)
        )
        run = tracker.start("full", {})
        with monkeypatch.context() as patch:
            patch.setattr(run.journal, "append", Mock(side_effect=full))
            for step in range(3):
                run.metrics({"a": 1.0}, step=step)
        run.finish()
        assert not capsys.readouterr().err
        if fails:
            raise full
    lines = capsys.readouterr().err.splitlines()
    assert [("metrics of run" in line, "2 other entries" in line) for line in lines] == [(True, True)] * (not fails)


def test_metrics_whose_reply_was_lost_are_there_once(root, monkeypatch):
    lost, real = [], mlflow.MlflowClient.log_batch

    def lose_first(client, run_id, metrics=(), params=(), tags=()):
        real(client, run_id, metrics, params, tags)
        if metrics and not lost:
            lost.extend(metrics)
            raise requests.ConnectionError("lost")

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", lose_first)
    with Tracker(root) as tracker:
        run = tracker.start("lost", {})
        for step in range(3):
            run.metrics({"a": 1.0, "b": float("nan")}, step=step)
        run.finish()
    assert lost
    client, _ = mlflow_store.connect(root)
    for name in ("a", "b"):
        assert [row.step for row in client.get_metric_history(run.journal.run_id, name)] == [0, 1, 2]


def test_a_run_whose_reply_was_lost_is_not_made_twice_and_one_that_comes_late_is_removed(root, monkeypatch):
    made, real = [], mlflow.MlflowClient.create_run

    def lose(client, *arguments, **options):
        made.append(real(client, *arguments, **options))
        raise requests.ConnectionError("lost")

    monkeypatch.setattr(mlflow.MlflowClient, "create_run", lose)
    with Tracker(root) as tracker:
        run = tracker.start("one", {})
        wait_until(lambda: run.journal.run_id is not None)
        client, experiment = mlflow_store.connect(root)
        real(client, experiment, tags={mlflow_names.RUN_TAG: run.key})
        assert len(mlflow_store.search_runs(client, experiment, {mlflow_names.RUN_TAG: run.key})) == 2
        run.finish()
    assert len(made) == 1
    assert stored(root, run).info.run_id == made[0].info.run_id


def test_a_run_that_the_store_has_lost_is_uploaded_again(root, tmp_path):
    with Tracker(root) as tracker:
        run = tracker.start("one", {})
        run.metrics({"a": 1.0}, step=1)
        wait_until(
            lambda: run.journal.run_id is not None and not any(one.pending for one in tracker.uploader._journals)
        )
        lay_store(root)  # another database
        run.metrics({"a": 2.0}, step=2)
        run.finish()
    client, _ = mlflow_store.connect(root)
    assert [row.step for row in client.get_metric_history(stored(root, run).info.run_id, "a")] == [1, 2]


def test_children_name_their_parent(root):
    with Tracker(root) as tracker:
        parent = tracker.start("parent", {})
        child = tracker.start("child", {}, parent=parent)
        child.finish()
        parent.finish()
    assert stored(root, child).data.tags["mlflow.parentRunId"] == stored(root, parent).info.run_id


def abandon(root, identity, **metrics):
    """Leave what a killed process does."""
    tracker = Tracker(root, identity).__enter__()
    run = tracker.start("killed", {})
    run.metrics(metrics, step=1)
    tracker.uploader.drain()
    tracker.uploader.close()
    return run


def test_what_was_killed_is_resumed_by_the_same(root):
    killed = abandon(root, "same", a=1.0)
    with Tracker(root, "same") as tracker:
        run = tracker.start("again", {})
        assert run.key == killed.key
        assert run.logged
        run.metrics({"a": 5.0}, step=1)  # logged already
        run.metrics({"a": 2.0}, step=2)
        run.finish()
    found = stored(root, killed)
    assert found.info.status == "FINISHED"
    client, _ = mlflow_store.connect(root)
    assert [(row.step, row.value) for row in client.get_metric_history(found.info.run_id, "a")] == [(1, 1.0), (2, 2.0)]


def test_what_was_killed_is_ended_by_others(root):
    killed = abandon(root, "other", a=1.0)
    assert stored(root, killed).info.status == "RUNNING"
    with Tracker(root, "same"):
        pass
    assert stored(root, killed).info.status == "KILLED"
    assert not kept(root)


def test_what_was_logged_for_another_store_waits_for_it(root, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:1")
    with Tracker(root) as tracker:
        run = tracker.start("elsewhere", {})
        run.finish()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with Tracker(root):
        pass
    (left,) = kept(root)
    assert "secret" not in (left / "events.jsonl").read_text()
    assert run.journal.run_id is None


def test_a_run_that_is_known_can_run_again_or_be_added_to(root):
    with Tracker(root) as tracker:
        first = tracker.start("one", {})
        first.finish()
    ended = stored(root, first).info.end_time
    with Tracker(root) as tracker:
        more = tracker.start("more", {"a": "b"}, run_key=first.key, adds=True)
        more.metrics({"late": 1.0})
        more.finish()
    found = stored(root, first)
    assert (found.info.status, found.info.end_time, found.info.run_name) == ("FINISHED", ended, "one")
    assert (found.data.tags["a"], found.data.metrics) == ("b", {"late": 1.0})
    with Tracker(root) as tracker:
        tracker.start("again", {}, run_key=first.key)
        assert tracker.uploader.drain() == []
        assert stored(root, first).info.status == "RUNNING"
    with Tracker(root):  # the end of the run was not sent after the drain
        pass
    assert stored(root, first).info.status == "FAILED"  # it was never finished


def test_what_cannot_be_written_causes_a_message_and_no_error(root, capsys):
    with Tracker(root) as tracker:
        run = tracker.start("one", {})
        run.artifact(Path("nowhere.png"))
        run.finish()
    assert "artifact of run" in capsys.readouterr().err
    assert stored(root, run).info.status == "FINISHED"


def test_whenever_it_is_interrupted_a_run_is_ended_as_killed(tmp_path, monkeypatch):
    # A KeyboardInterrupt within Event.set, or between a line of the journal and its bookkeeping, lost the end of the run.
    def project(root, journal):
        for event, end in journal.events(journal.offset):
            sent.append(event)
            journal.acknowledge(end, "run", "experiment")

    sent: list[dict[str, object]] = []
    monkeypatch.setattr(uploader, "BATCH_PAUSE", 0.001)
    monkeypatch.setattr("xtcav_ml.tracking.tracker.Uploader", lambda root: uploader.Uploader(root, project))
    monkeypatch.setattr(interrupts, "_first", None)
    before = signal.signal(signal.SIGALRM, interrupts._stop)
    choose = random.Random(0)
    try:
        for turn in range(60):
            interrupts._first = None
            with pytest.raises(KeyboardInterrupt), Tracker(tmp_path) as tracker:
                signal.setitimer(signal.ITIMER_REAL, choose.uniform(1e-5, 5e-3))
                run = tracker.start(f"turn {turn}", {})
                for step in range(100_000):
                    run.metrics({"loss": step}, step=step)
                    interrupts.require_none()  # what a callback of a weak reference raises is swallowed
            assert (sent[-1]["event"], sent[-1]["status"]) == ("finish", "KILLED")
    finally:
        signal.signal(signal.SIGALRM, before)
