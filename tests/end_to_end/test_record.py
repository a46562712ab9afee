"""Every result has its run in MLflow, wherever it came from: DVC's cache, an experiment elsewhere, a server that was down."""

import json
import re
import time

import mlflow
import pytest

from tests.end_to_end.conftest import Project
from tests.servers import Server

RATE = "train.optimizer.learning_rate"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project.finished(tmp_path_factory.mktemp("record"))
    project.run("git", "rm", "-rq", "--cached", "raw")
    project.run("dvc", "add", "raw")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-q", "--amend", "--no-edit")
    return project


def trained(project):
    return project.runs("tags.stage = 'train'")


def test_from_a_commit_to_its_runs_and_back(project):
    (run,) = trained(project)
    for arguments in ([], ["."], ["HEAD"]):
        (listed,) = json.loads(project.run("xtcav", "runs", *arguments, "--json").stdout)
        assert (listed["run_id"], listed["state"]) == (run.info.run_id, "FINISHED")
        assert listed["accuracy"] == run.data.metrics["accuracy"]
        assert listed["differs"] == {}
    refused = project.run("xtcav", "runs", "HEAD~1", check=False)
    assert refused.returncode == 1
    assert re.fullmatch(r"xtcav: .*dvc\.lock.*\n", refused.stderr)
    used = {entry.dataset.name: (entry.dataset.digest, entry.tags[0].value) for entry in run.inputs.dataset_inputs}
    made = {out["path"]: out["md5"] for out in project.lock()["stages"]["prepare"]["outs"]}
    raw = next(dep["md5"] for dep in project.lock()["stages"]["prepare"]["deps"] if dep["path"] == "raw")
    assert used == {
        "raw": (raw, "raw"),
        "data/prepared/train.h5": (made["data/prepared/train.h5"], "training"),
        "data/prepared/validation.h5": (made["data/prepared/validation.h5"], "validation"),
        "data/prepared/test.h5": (made["data/prepared/test.h5"], "test"),
    }
    kept = {file.path for file in project.client().list_artifacts(run.info.run_id, "lineage")}
    assert kept >= {"lineage/params.yaml", "lineage/dvc.lock"}


def test_what_dvc_restores_has_its_run_once_in_a_store_that_is_empty(project, tmp_path):
    (first,) = trained(project)
    project.set(**{RATE: 0.06})
    refused = project.run("xtcav", "runs", ".", check=False)
    assert refused.returncode == 1
    assert "the workspace: no run in " in refused.stderr
    assert "lineage.key" in refused.stderr
    project.run("dvc", "repro")
    project.set(**{RATE: 0.05})
    empty = f"sqlite:///{tmp_path}/mlflow.db"
    said = project.run("dvc", "repro", MLFLOW_TRACKING_URI=empty).stdout
    assert all(f"Stage '{stage}' is cached - skipping run" in said for stage in ("train", "evaluate"))
    client = mlflow.MlflowClient(empty)
    (run,) = client.search_runs([client.get_experiment_by_name("xtcav").experiment_id])
    assert run.data.tags["rebuilt"] == "true"
    assert run.data.metrics == {
        name: value for name, value in first.data.metrics.items() if not re.match("system/", name)
    }
    assert run.data.params == first.data.params
    lock = (project.folder / "dvc.lock").read_bytes()
    project.run("dvc", "repro", MLFLOW_TRACKING_URI=empty)
    assert len(client.search_runs([run.info.experiment_id])) == 1
    assert (project.folder / "dvc.lock").read_bytes() == lock
    assert run.info.run_id == project.json("results/resources/run.json")["run_id"]
    project.run("dvc", "repro")  # the project's own store has had it all the time
    assert len(trained(project)) == 2
    assert first.info.run_id == project.json("results/resources/run.json")["run_id"]


def test_a_clone_that_pulls_the_results_has_their_run(project, tmp_path):
    project.run("git", "checkout", "-q", ".")
    project.run("dvc", "remote", "add", "-q", "--local", "-d", "shots", str(tmp_path / "remote"))
    project.run("dvc", "push", "-q")
    clone = Project(tmp_path / "clone")
    project.run("git", "clone", "-q", str(project.folder), str(clone.folder))
    clone.run("dvc", "remote", "add", "-q", "--local", "-d", "shots", str(tmp_path / "remote"))
    clone.run("dvc", "pull", "-q", "--with-deps", "evaluate")
    assert (clone.folder / "models/model.keras").is_file()
    done = clone.run("dvc", "repro")
    assert [each for each in re.findall("Running stage '(.*)'", done.stdout) if each != "validate"] == [
        "code",
        "record",
    ]
    (first, *_), (run,) = trained(project), trained(clone)
    assert run.data.tags["rebuilt"] == "true"
    assert run.data.tags["lineage.key"] == first.data.tags["lineage.key"]
    assert run.data.metrics["accuracy"] == first.data.metrics["accuracy"]
    assert run.data.params == first.data.params
    assert "rebuilt" not in first.data.tags
    assert clone.run("git", "status", "--porcelain").stdout == ""


def test_experiments_leave_their_runs_in_the_project_s_store(project):
    project.run("git", "checkout", "-q", ".")
    before = len(trained(project))
    project.run("dvc", "exp", "run", "-S", f"{RATE}=0.02")
    project.run("dvc", "exp", "run", "--temp", "-S", f"{RATE}=0.03")
    project.run("dvc", "exp", "run", "--queue", "-S", f"{RATE}=0.04")
    project.run("dvc", "queue", "start")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(found := ended(project)) < before + 3:
        time.sleep(0.5)
    project.run("dvc", "queue", "stop")
    found = {run.data.params[RATE]: run for run in found[before:]}
    assert set(found) == {"0.02", "0.03", "0.04"}
    commit = project.run("git", "rev-parse", "HEAD").stdout.strip()
    for run in found.values():
        assert run.info.status == "FINISHED"
        assert run.data.tags["dvc.exp.name"]
        assert run.data.tags["git.commit"] == commit
        assert "accuracy" in run.data.metrics
    assert len({run.data.tags["dvc.exp.name"] for run in found.values()}) == 3
    table = [line[:120] for line in project.run("dvc", "exp", "show").stdout.splitlines()]
    assert any("changed" in line and "accuracy " in line for line in table)
    assert all(any(f"{RATE} {rate} " in line for line in table) for rate in found)


def ended(project):
    """Return the runs whose evaluation has arrived."""
    return [run for run in trained(project) if "evaluation.md5" in run.data.tags]


def test_a_server_that_was_down_gets_everything_when_it_is_back(project, tmp_path):
    project.run("git", "checkout", "-q", ".")
    server = Server(tmp_path)
    project.set(**{RATE: 0.07})
    done = project.run("dvc", "repro", MLFLOW_TRACKING_URI=server.url)
    assert "Running stage 'record'" in done.stdout
    assert done.stderr.count("runs not uploaded") == 2  # of train and of record
    down = project.run("xtcav", "sync", MLFLOW_TRACKING_URI=server.url, check=False)
    assert down.returncode == 1
    assert "kept in mlruns/journal" in down.stdout
    server.start()
    try:
        assert "Everything has been uploaded" in project.run("xtcav", "sync", MLFLOW_TRACKING_URI=server.url).stdout
        client = mlflow.MlflowClient(server.url)
        (run,) = client.search_runs([client.get_experiment_by_name("xtcav").experiment_id])
        assert run.info.status == "FINISHED"
        assert run.data.metrics["accuracy"] == project.json("results/evaluation.json")["accuracy"]
        rows = client.get_metric_history(run.info.run_id, "val_accuracy")
        assert [row.step for row in rows] == [1, 2, 3]
        (model,) = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
        assert model.status == "READY"
        project.run("dvc", "repro", MLFLOW_TRACKING_URI=server.url)
        assert len(client.search_runs([run.info.experiment_id])) == 1
    finally:
        server.kill()
    assert not list((project.folder / "mlruns/journal").iterdir())
