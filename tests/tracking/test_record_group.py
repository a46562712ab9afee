"""A group of seeds of an experiment in MLflow; that of the default network is recorded in end_to_end/test_seeds."""

import pytest

from tests.conftest import stored_runs
from tests.tracking.test_record import leave_model_out
from xtcav_ml.lineage.fingerprint import Code
from xtcav_ml.lineage.lineage import Lineage
from xtcav_ml.tracking import mlflow_store, record_group
from xtcav_ml.tracking.mlflow_names import NOTES

MEAN = {"mean absolute error": {"mean": 2.5, "sd": 0.5, "low": 1.5, "high": 3.5}}
ORIGIN = Lineage({"train": {"seed": 1, "epochs": 2}}, {"train.h5": "d"}, Code("c"))


@pytest.fixture
def files(workspace, monkeypatch):
    leave_model_out(monkeypatch.setattr)
    for seed in (1, 2, 3):
        (workspace / f"{seed}.keras").write_text(f"weights {seed}")
        (workspace / f"{seed}.jsonl").write_text('{"epoch": 1, "val_loss": 0.5}\n{"epoch": 2, "val_loss": 0.25}\n')
    return lambda seed: (workspace / f"{seed}.keras", workspace / f"{seed}.jsonl")


def recorded(workspace, files, *seeds):
    members = {seed: (ORIGIN.with_seed(seed), {"mean absolute error": 2.0 + seed}) for seed in seeds}
    record_group.record_experiment("delay", ORIGIN.without_seed, members, MEAN, files)
    client, experiment = mlflow_store.connect(workspace, NOTES)
    runs = client.search_runs([experiment])
    (group,) = (run for run in runs if run.data.tags["stage"] == "group")
    return group, [run for run in runs if run.data.tags.get("mlflow.parentRunId") == group.info.run_id]


def test_it_is_one_run_with_mean_and_spread_and_a_run_of_each_seed_below_it(workspace, files):
    group, members = recorded(workspace, files, 1, 2)
    assert {name: group.data.metrics[name] for name in group.data.metrics if "error" in name} == {
        "mean absolute error": 2.5,
        "mean absolute error_sd": 0.5,
        "mean absolute error_low": 1.5,
        "mean absolute error_high": 3.5,
    }
    assert "Mean of 2 seeds: mean absolute error 2.5" in group.data.tags["mlflow.note.content"]
    assert "train.seed" not in group.data.params
    assert {run.data.params["train.seed"]: run.data.metrics["mean absolute error"] for run in members} == {
        "1": 3.0,
        "2": 4.0,
    }
    assert {run.data.tags["group.key"] for run in [group, *members]} == {ORIGIN.group}
    assert {run.data.tags["experiment"] for run in [group, *members]} == {"delay"}
    assert {run.data.metrics["val_loss"] for run in members} == {0.25}
    assert stored_runs(workspace) == []  # which are those of the project's own network


def test_a_seed_that_is_added_is_the_only_new_run(workspace, files):
    before, members = recorded(workspace, files, 1, 2)
    again, _ = recorded(workspace, files, 1, 2)
    assert again.info.end_time == before.info.end_time
    group, more = recorded(workspace, files, 1, 2, 3)
    assert group.info.run_id == before.info.run_id
    assert group.data.tags["group.seeds"] == "1, 2, 3"
    assert {run.info.run_id for run in members} < {run.info.run_id for run in more}
    assert len(more) == 3
