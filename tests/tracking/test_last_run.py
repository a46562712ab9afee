import time

import pytest

from tests.conftest import StoredRun, lay_store
from xtcav_ml.tracking.last_run import run_before

METRIC = "accuracy"


@pytest.fixture(autouse=True)
def _local_store(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def stored(root, value, status="FINISHED", stage="train", metric=METRIC, **params):
    run = StoredRun(root, stage=stage)
    run.client.log_metric(run.run_id, metric, value)
    run.params(params)
    run.client.set_terminated(run.run_id, status)
    time.sleep(0.002)  # starts are kept in milliseconds
    return run


def test_it_is_the_newest_finished_training_that_began_before(tmp_path):
    lay_store(tmp_path)
    first = stored(tmp_path, 0.4)
    wanted = stored(tmp_path, 0.5, metric="accuracy/test", seed=1, epochs=24)  # as earlier versions named it
    stored(tmp_path, 0.6, status="FAILED")
    stored(tmp_path, 0.7, stage="trial")
    deleted = stored(tmp_path, 0.8)
    deleted.client.delete_run(deleted.run_id)
    now = stored(tmp_path, 0.55, seed=2, epochs=24, precision="float32")
    stored(tmp_path, 0.9)
    last = run_before(tmp_path, now.run_id, METRIC)
    assert (last.run_id, last.name, last.value) == (wanted.run_id, "one", 0.5)
    assert last.changed == {"precision": ("-", "float32"), "seed": ("1", "2")}
    assert run_before(tmp_path, first.run_id, METRIC) is None
    assert run_before(tmp_path, now.run_id, "another") is None


@pytest.mark.parametrize("store", ["http://127.0.0.1:9", "sqlite:////nowhere/mlflow.db"])
def test_a_store_that_cannot_be_read_at_once_has_none(tmp_path, monkeypatch, store):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    assert run_before(tmp_path, "a" * 32, METRIC) is None
