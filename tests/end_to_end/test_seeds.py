"""A group of seeds as `make seeds` trains it: each seed once, a run with mean and spread, compared as settings."""

import json

import pytest

from tests.end_to_end.conftest import Project

REPRO = ("dvc", "--cd", "seeds", "repro")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project.finished(tmp_path_factory.mktemp("seeds") / "project")
    project.set(**{"compare.seeds": [1, 2]})
    project.run("dvc", "repro", "train")
    project.first_output = project.run(*REPRO).stdout
    return project


def test_the_network_of_the_train_stage_is_taken_over_and_the_others_are_trained(project):
    assert "seed 1 is that of models/model.keras" in project.first_output
    assert (project.folder / "seeds/trained/1/model.keras").read_bytes() == (
        project.folder / "models/model.keras"
    ).read_bytes()
    group = project.json("seeds/results/seeds.json")
    assert list(group["seeds"]) == ["1", "2"]
    assert group["seeds"]["1"]["accuracy"] == project.json("results/evaluation.json")["accuracy"]
    mean = group["mean"]["accuracy"]
    assert mean["mean"] == pytest.approx(sum(one["accuracy"] for one in group["seeds"].values()) / 2)
    assert mean["low"] <= mean["mean"] <= mean["high"] <= 1


def test_each_seed_is_trained_once_and_the_project_s_own_dvc_knows_nothing_of_it(project):
    project.set(**{"compare.seeds": [1, 2, 3]})
    said = project.run(*REPRO).stdout
    assert "xtcav seeds 3" in said
    assert "xtcav seeds 1" not in said
    assert "xtcav seeds 2" not in said
    assert list(project.json("seeds/results/seeds.json")["seeds"]) == ["1", "2", "3"]
    assert "seeds/" not in project.run("dvc", "status").stdout


def test_the_group_is_a_run_with_its_members_below_it(project):
    (group,) = project.runs("tags.stage = 'group'")
    members = project.runs(f"tags.`mlflow.parentRunId` = '{group.info.run_id}'")
    assert sorted(run.data.params["train.seed"] for run in members) == ["1", "2", "3"]
    assert {run.data.tags["group.key"] for run in [*members, group]} == {group.data.tags["group.key"]}
    assert {run.info.status for run in [*members, group]} == {"FINISHED"}
    (trained,) = project.runs("tags.stage = 'train'")
    assert trained.info.run_id in {run.info.run_id for run in members}
    mean = project.json("seeds/results/seeds.json")["mean"]["accuracy"]
    assert group.data.metrics["accuracy"] == pytest.approx(mean["mean"])
    assert group.data.metrics["accuracy_sd"] == pytest.approx(mean["sd"])
    assert "train.seed" not in group.data.params
    assert len(project.client().get_metric_history(group.info.run_id, "accuracy")) == 2  # of two and three members
    for run in members:
        assert run.data.metrics["accuracy"] == pytest.approx(
            project.json("seeds/results/seeds.json")["seeds"][run.data.params["train.seed"]]["accuracy"]
        )


def test_settings_are_compared_by_their_groups(project):
    (group,) = project.runs("tags.stage = 'group'")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "group")
    assert "are single models of the same settings" in project.run("xtcav", "compare", ".", "HEAD").stdout
    project.set(**{"train.optimizer.learning_rate": 0.0001, "compare.seeds": [1, 2]})
    project.run("dvc", "repro", "train")
    said = project.run("xtcav", "compare", "HEAD", ".").stdout
    assert "settings cannot be called better on one seed each" in said
    project.run(*REPRO)
    found = json.loads(project.run("xtcav", "compare", group.info.run_id, ".", "--json").stdout)
    assert (found["level"], [row["seeds"] for row in found["runs"]]) == ("settings", [3, 2])
    assert "better than those of" in found["comparisons"][0]["verdict"]
    assert found["parameters"] == {"train.optimizer.learning_rate": {group.info.run_id: "0.05", ".": "0.0001"}}
    said = project.run("xtcav", "summary").stdout
    assert "Mean of 2 seeds: accuracy" in said
    project.run("xtcav", "report")
    assert "Mean of 2 seeds" in (project.folder / "results/report.html").read_text()
