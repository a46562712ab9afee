"""`dvc repro` for real on full-size simulated frames, once: what a user gets of it. No test here changes anything."""

import json
import re

import pytest

from tests.end_to_end.conftest import FEWEST_SHOTS, Project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The default pipeline, run once in processes of its own; what the tests ask runs in the warm one."""
    folder = tmp_path_factory.mktemp("project")
    project = Project.copy(folder, store=False, **FEWEST_SHOTS)
    project.first_output = Project(folder, real=True).run("dvc", "repro").stdout
    return project


def test_stages_run_in_order_and_leave_their_outputs(project):
    order = [
        project.first_output.index(f"xtcav {stage}")
        for stage in ("fingerprint", "validate", "simulate", "check", "prepare", "train", "evaluate", "record")
    ]
    assert order == sorted(order)
    for name in (
        "data/prepared/train.h5",
        "models/model.keras",
        "results/evaluation.json",
        "results/plots/confusion_matrix.png",
    ):
        assert (project.folder / name).stat().st_size > 0
    assert not list(project.folder.rglob("*.tmp.*"))


def test_metrics_are_numbers_with_their_interval(project):
    metrics = project.json("results/evaluation.json")
    assert 0 <= metrics["accuracy_low"] <= metrics["accuracy"] <= metrics["accuracy_high"] <= 1
    assert sum(map(sum, metrics["confusion"])) == metrics["shots"]
    assert metrics["largest_class"] == max(map(sum, metrics["confusion"])) / metrics["shots"]
    assert (
        metrics["bayes_accuracy_low"] <= metrics["bayes_accuracy"] <= metrics["bayes_accuracy_high"]
    )  # labels drawn again
    assert 0 < metrics["expected_accuracy"] <= 1
    assert metrics["stated_coverage"] == 0.9
    assert all(0 <= one["coverage_low"] <= one["coverage_high"] <= 1 for one in metrics["classes"].values())
    assert "accuracy" in project.run("dvc", "metrics", "show").stdout


def test_the_run_in_mlflow_leads_back_to_data_code_and_parameters(project):
    run = project.runs("tags.stage = 'train'")[0]
    locked = project.lock()["stages"]["train"]
    assert run.info.status == "FINISHED"
    digests = {entry.dataset.name: entry.dataset.digest for entry in run.inputs.dataset_inputs}
    for dep in locked["deps"]:
        assert digests[dep["path"]] == dep["md5"]
    assert run.info.run_name == "lr 0.02, 8x8 6x6 kernels, seed 1"
    assert len([tag for tag in run.data.tags if not tag.startswith("mlflow.")]) <= 12
    assert len(run.data.params) <= 70
    assert f"xtcav reproduce {run.info.run_id}" in run.data.tags["mlflow.note.content"]
    assert run.data.tags["git.commit"] == project.run("git", "rev-parse", "HEAD").stdout.strip()
    assert run.data.tags["git.dirty"] == "false"
    assert run.data.params["train.optimizer.learning_rate"] == "0.02"
    assert run.data.params["simulate.seed"] == str(FEWEST_SHOTS["simulate.seed"])


def test_the_run_holds_epochs_resources_test_metrics_and_pictures(project):
    client, run = project.client(), project.runs("tags.stage = 'train'")[-1]
    history = client.get_metric_history(run.info.run_id, "val_accuracy")
    assert [point.step for point in history] == [1, 2]
    used = run.data.metrics
    assert used["system/max_memory_mb"] > 100
    assert used["system/run_time_s"] > 1
    metrics = project.json("results/evaluation.json")
    for name in ("accuracy", "cross_entropy"):
        assert used[name] == pytest.approx(metrics[name])
    for name, shares in metrics["classes"].items():
        assert used.get(f"classes.{name}.recall") == (shares["recall"] and pytest.approx(shares["recall"]))
    last = json.loads((project.folder / "results/history.jsonl").read_text().splitlines()[-1])
    kept = {name: value for name, value in last.items() if name not in ("epoch", "crc32")}
    assert {name: used[name] for name in kept} == pytest.approx(kept)
    assert {name for name in kept if name.startswith("val_predicted.")} == {
        f"val_predicted.{name}" for name in metrics["classes"]
    }
    assert {file.path for file in client.list_artifacts(run.info.run_id, "plots")} >= {"plots/confusion_matrix.png"}


def test_the_logged_model_has_a_signature_and_predicts(project, keras_ready):
    import mlflow
    import numpy as np

    run = project.runs("tags.stage = 'train'")[0]
    mlflow.set_tracking_uri(f"sqlite:///{project.folder}/mlruns/mlflow.db")
    (logged,) = project.client().search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    info = mlflow.models.get_model_info(logged.model_uri)
    assert info.metadata["inputs"] == {"frame": "int16 (-1, 726, 568)"}  # raw camera frames
    model = mlflow.pyfunc.load_model(logged.model_uri)
    table = model.predict(np.full((3, 726, 568), 100, np.int16))
    assert [name for name in table if name.startswith("probability of ")] == list(table)[:4]
    assert np.allclose(table.iloc[:, :4].sum(axis=1), 1, atol=1e-5)
    assert set(table["predicted"]) <= {"no peaks", "t0", "t0 t1", "t0 t1 t2"}


def test_the_model_is_a_version_with_lineage_and_test_metrics(project):
    run = project.runs("tags.stage = 'train'")[0]
    (version,) = project.client().search_model_versions(f"run_id = '{run.info.run_id}'")
    assert version.name == "xtcav"
    assert version.tags["lineage.key"] == run.data.tags["lineage.key"]
    assert float(version.tags["accuracy"]) == pytest.approx(
        project.json("results/evaluation.json")["accuracy"], rel=1e-4
    )


def test_nothing_to_do_says_so(project):
    lock, runs = (project.folder / "dvc.lock").read_bytes(), len(project.runs())
    done = project.run("dvc", "repro")
    ran = [line for line in done.stdout.splitlines() if "Running stage" in line]
    assert ran == ["Running stage 'code':", "Running stage 'record':"]
    assert (project.folder / "dvc.lock").read_bytes() == lock
    assert len(project.runs()) == runs
    assert project.run("dvc", "status").stdout.split() == ["code:", "always", "changed", "record:", "always", "changed"]


def test_plots_are_drawn(project):
    project.run("dvc", "plots", "show")
    page = (project.folder / "dvc_plots" / "index.html").read_text()
    for part in ("val_accuracy", "confusion matrix of the test shots", "learning_curves.png"):
        assert part in page
    assert not re.search("(src|href) *=", re.sub('src="static/[^"]*"', "", page))  # no network
