import pytest

from tests.conftest import StoredRun
from xtcav_ml.system.errors import UserError
from xtcav_ml.tracking import find_runs


@pytest.fixture(autouse=True)
def _local_store(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_a_run_is_found_by_its_id_its_first_digits_and_its_name(root):
    run = StoredRun(root)
    run.client.update_run(run.run_id, name="lr 0.01, 8x8 kernels")
    for name in (run.run_id, run.run_id[:12], "lr 0.01, 8x8 kernels"):
        assert find_runs.find_run(root, name).info.run_id == run.run_id


@pytest.mark.parametrize("name", ["{:.3}", "{:.8}%", "{:.8}' OR '", "{:.8}`", "{:.8}\\", "{}0", "", "none\0"])
def test_what_names_no_run_is_refused(root, name):
    name = name.format(StoredRun(root).run_id)
    with pytest.raises(UserError, match=r"found no run, .*Fix: .*`xtcav runs`"):
        find_runs.find_run(root, name)


def test_a_name_of_several_runs_is_refused_with_their_ids(root):
    runs = [StoredRun(root), StoredRun(root)]
    for run in runs:
        run.client.update_run(run.run_id, name="twice")
    with pytest.raises(UserError, match=r"^twice: .*found several runs") as refused:
        find_runs.find_run(root, "twice")
    assert all(run.run_id[:8] in str(refused.value) for run in runs)
