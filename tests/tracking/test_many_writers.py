"""Eight processes, each in a folder of its own as on eight machines, log the same results to one store at the same time."""

import multiprocessing
import os
import shutil
from pathlib import Path

import mlflow
import pytest

from tests.servers import Server
from tests.tracking import test_record
from xtcav_ml.tracking import record
from xtcav_ml.tracking.tracker import Tracker

results = test_record.results
WRITERS = 8


def log_often(folder, uri, calls, go):
    os.chdir(folder)
    os.environ["MLFLOW_TRACKING_URI"] = uri
    go.wait()
    for _ in range(calls):
        Path("results/resources/run.json").unlink(missing_ok=True)
        record.record(Path("model.keras"), Path("results/history.jsonl"), Path("results"))
        with Tracker(Path()):  # as sync does
            pass


def log_at_once(results, uri, calls):
    """Log the results of copies of a workspace from as many processes; return the runs that are then in the store."""
    test_record.commit(results)
    context, folders = multiprocessing.get_context("fork"), []
    for number in range(WRITERS):
        folders.append(results.root / f"machine {number}")
        shutil.copytree(results.root, folders[-1], ignore=shutil.ignore_patterns("machine *", "mlflow.db*"))
    go = context.Barrier(WRITERS)
    writers = [context.Process(target=log_often, args=(folder, uri, calls, go)) for folder in folders]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(500)
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("xtcav").experiment_id
    found = client.search_runs([experiment])
    return client, found


def require_one(client, found):
    (run,) = found
    assert run.info.status == "FINISHED"
    for name, steps in (("accuracy/test", [0]), ("accuracy/validation", [1, 2])):
        assert [row.step for row in client.get_metric_history(run.info.run_id, name)] == steps


@pytest.mark.parametrize("calls", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_in_a_database_there_is_one_run_and_nothing_twice(results, calls):
    require_one(*log_at_once(results, f"sqlite:///{results.root}/mlruns/mlflow.db", calls))


@pytest.mark.parametrize("calls", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_on_a_server_there_is_one_run_and_nothing_twice(results, calls, tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    try:
        require_one(*log_at_once(results, server.url, calls))
    finally:
        server.kill()
