"""Processes, each in a folder of its own as on many machines, log the same results to one store at the same time."""

import os
import shutil
from pathlib import Path

import mlflow
import pytest

from tests.servers import FORKS, Server  # TensorFlow may run in this process, and would not work in its own forks
from tests.tools import test_promote_model
from tests.tools.test_compare import hits
from tests.tracking import test_record
from tests.tuning.test_locked_study import locked
from xtcav_ml.science import drift
from xtcav_ml.tools import promote_model
from xtcav_ml.tracking import record
from xtcav_ml.tracking.tracker import Tracker

results, project = test_record.results, test_promote_model.root
FEW, MANY = (4, 1), pytest.param((8, 20), marks=pytest.mark.slow)
"""How many there are, and how often each does its work."""


def without_drift():
    """Do in another process what the fixture of this name does in this one."""
    drift.allowed_for = lambda difference, gains: difference


def log_often(folder, uri, calls, go):
    test_record.leave_model_out(setattr)
    os.chdir(folder)
    os.environ["MLFLOW_TRACKING_URI"] = uri
    go.wait()
    for _ in range(calls):
        Path("results/resources/run.json").unlink(missing_ok=True)
        record.record(Path("model.keras"), Path("results/history.jsonl"), Path("results"))
        with Tracker(Path()):  # as sync does
            pass


def promote_often(folder, uri, calls, go):
    without_drift()
    os.chdir(folder)
    os.environ["MLFLOW_TRACKING_URI"] = uri
    go.wait()
    for _ in range(calls):
        promote_model.promote_version("candidate", dry_run=False)


def log_versions(root, uri):
    """Log two runs, each with a version of the model; the first one is the champion, the second one as good."""
    os.environ["MLFLOW_TRACKING_URI"] = uri
    without_drift()
    first, _ = test_promote_model.trained(root, hits(40)), test_promote_model.trained(root, hits(38))
    test_promote_model.promote(first)


def finish(processes):
    for process in processes:
        process.start()
    for process in processes:
        process.join(500)
    assert [process.exitcode for process in processes] == [0] * len(processes)


def at_once(work, root, uri, many):
    """Do `work` in copies of a workspace from as many processes; return the runs that are then in the store."""
    writers, calls = many
    folders = [root / f"machine {number}" for number in range(writers)]
    for folder in folders:
        shutil.copytree(root, folder, ignore=shutil.ignore_patterns("machine *", "mlruns"))
    go = FORKS.Barrier(writers)
    finish([FORKS.Process(target=work, args=(folder, uri, calls, go)) for folder in folders])
    client = mlflow.MlflowClient(uri)
    return client, client.search_runs([client.get_experiment_by_name("xtcav").experiment_id])


def log_at_once(results, uri, many):
    test_record.commit(results)
    return at_once(log_often, results.root, uri, many)


def promote_at_once(root, uri, many):
    finish([FORKS.Process(target=log_versions, args=(root, uri))])
    client, runs = at_once(promote_often, root, uri, many)
    second, first = runs  # the newest first
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    assert len(client.search_model_versions("name = 'xtcav'")) == 2
    for alias, run in (("champion", second), ("previous", first)):
        version = client.get_model_version_by_alias("xtcav", alias)
        assert version.run_id == run.info.run_id
        assert version.description.startswith("Promoted: ")


def require_one(client, found):
    (run,) = found
    assert run.info.status == "FINISHED"
    for name, steps in (("accuracy", [0]), ("val_accuracy", [1, 2])):
        assert [row.step for row in client.get_metric_history(run.info.run_id, name)] == steps


@pytest.mark.parametrize("many", [(4, 2), MANY])
def test_in_a_database_there_is_one_run_and_nothing_twice(results, many):
    require_one(*log_at_once(results, f"sqlite:///{results.root}/mlruns/mlflow.db", many))


@pytest.mark.parametrize("many", [FEW, MANY])
def test_on_a_server_there_is_one_run_and_nothing_twice(results, many, tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    try:
        require_one(*log_at_once(results, server.url, many))
    finally:
        server.kill()


def test_a_database_that_another_process_locks_meanwhile_gets_everything_once(results):
    database = results.root / "mlruns/mlflow.db"
    with locked(database, 3):
        test_record.recorded(results)
    with Tracker(results.root):
        pass
    client = mlflow.MlflowClient(f"sqlite:///{database}")
    require_one(client, test_record.stored_runs(results.root))


@pytest.mark.parametrize("many", [FEW, MANY])
def test_in_a_database_a_champion_is_made_once(project, many):
    promote_at_once(project, f"sqlite:///{project}/mlruns/mlflow.db", many)


@pytest.mark.parametrize("many", [FEW, MANY])
def test_on_a_server_a_champion_is_made_once(project, many, tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    try:
        promote_at_once(project, server.url, many)
    finally:
        server.kill()
