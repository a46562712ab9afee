import json

import pytest

from tests.conftest import ROOT, StoredRun, lay_store
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import list_runs


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The folder of a project with two finished runs of training and one of a search; the second is edited."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    lay_store(tmp_path)
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "dvc.yaml").touch()
    return tmp_path


def store(root, number, params, metrics, **tags):
    run = StoredRun(root, **{"stage": "train", "git.dirty": "false", **tags})
    run.client.update_run(run.run_id, name=f"run {number}")
    run.params(params)
    run.metrics(metrics)
    run.finish()
    return run


NOW = ("accuracy", "accuracy_low", "accuracy_high")


@pytest.mark.parametrize("names", [NOW, ("accuracy/test", "test/accuracy_low", "test/accuracy_high")])
def test_the_newest_is_first_with_its_accuracy_and_what_differs(root, params, capsys, names):
    old = store(root, 1, {"train.seed": 1, "train.model.blocks.0.kernel": 8, "data.frame_shape.1": 568}, {})
    measured = dict(zip(names, (0.854, 0.817, 0.885), strict=True))  # as it is named now, and was by earlier versions
    own = {"train.seed": 7, "train.epochs": params.train.epochs, "data.raw": "raw"}
    new = store(root, 2, own, measured, **{"git.dirty": "true"})
    store(root, 3, {}, {}, stage="trial")
    list_runs.list_runs(None, 20, False)
    first, second = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    for part in (
        new.run_id[:8],
        "│ 85.4% (81.7% to 88.5%)",
        "run 2",
        "train.seed 7, data.raw raw, code edited",
    ):
        assert part in first
    assert "train.epochs" not in first
    assert [cell.strip() for cell in second.split("│")[1::4]] == [old.run_id[:8], ""]


def test_the_state_of_a_run_is_told_if_it_has_not_finished(root, capsys):
    StoredRun(root, stage="train")
    list_runs.list_runs(None, 20, False)
    assert "│ RUNNING " in capsys.readouterr().out


def test_a_group_of_seeds_is_listed_with_its_seeds(root, capsys):
    store(root, 1, {}, {"accuracy": 0.8}, stage="group", **{"group.seeds": "1, 2, 3"})
    list_runs.list_runs(None, 20, False)
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert "│ 80.0% " in row
    assert "mean of seeds 1, 2, 3" in row


def test_many_differences_are_counted(root, capsys):
    store(root, 1, {f"train.new{i}": i for i in range(9)}, {})
    list_runs.list_runs(None, 20, False)
    assert "train.new2 2, and 6 more" in capsys.readouterr().out


def test_json_has_whole_ids_and_numbers(root, capsys):
    runs = [store(root, number, {"train.seed": 2}, {"accuracy": 0.5}) for number in range(3)]
    list_runs.list_runs(None, 2, True)
    listed = json.loads(capsys.readouterr().out)
    assert {one["run_id"] for one in listed} < {run.run_id for run in runs}
    assert len(listed) == 2
    assert listed[0]["accuracy"] == 0.5
    assert listed[0]["differs"] == {"train.seed": "2"}


def test_without_runs_the_cure_is_named(root):
    with pytest.raises(UserError, match=r"this project: no run in sqlite:.*Fix: run `make repro`"):
        list_runs.list_runs(None, 20, False)
