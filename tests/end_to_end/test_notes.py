"""The notes' experiments as a DVC project of their own, made small, through `dvc repro` for real."""

import pytest

from tests.end_to_end.conftest import Project
from xtcav_ml.tracking.mlflow_names import NOTES

SMALLER = {
    "signal-40": {
        "train: 1280": "train: 64",
        "validation: 500": "validation: 20",
        "batch_size: 128": "batch_size: 16",
        "epochs: 13": "epochs: 2",
    },
    "lasing-first": {
        "{no_lasing_shots: 200, lasing_shots: [100, 100]}": "{no_lasing_shots: 60, lasing_shots: [30, 30]}",
        "{train: 40, validation: 30}": "{train: 8, validation: 4}",
        "batch_size: 80": "batch_size: 16",
        "epochs: 31": "epochs: 2",
    },
}
MEMBERS = ("seeds@signal-40-1", "seeds@signal-40-2")
TRAINED = ("dvc", "--cd", "experiments", "repro", *(f"train@{name}" for name in SMALLER))
REPRO = (*TRAINED, *MEMBERS)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project.copy(tmp_path_factory.mktemp("notes"))
    for name, changes in SMALLER.items():
        path = project.folder / "experiments" / f"{name}.yaml"
        text = path.read_text()
        for old, new in changes.items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path.write_text(text)
    project.run("xtcav", "experiment", "--check")
    project.run(*TRAINED)  # before the members, of which one then takes its network over
    project.first_output = project.run(*REPRO).stdout
    project.run("xtcav", "experiment", "--table")
    project.table = (project.folder / "experiments/results/notes.md").read_text().splitlines()
    return project


def test_each_trains_the_steps_asked_for_and_leaves_data_network_and_result(project):
    found = project.json("experiments/results/signal-40.json")
    assert (found["train_shots"], found["validation_shots"], found["steps"]) == (64, 20, 8)
    assert found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"]
    found = project.json("experiments/results/lasing-first.json")
    assert (found["train_shots"], found["validation_shots"], found["steps"], found["parameters"]) == (16, 8, 2, 13_234)
    left = {path.name for path in (project.folder / "experiments/data").iterdir()}
    assert left == {"signal-40", "lasing-first", ".gitignore"} or left == {"signal-40", "lasing-first"}
    for name in SMALLER:
        used = project.json(f"experiments/results/{name}.usage.json")
        assert used["max_memory_mb"] > 100
        assert used["step_s"] > 0


def test_runs_lie_in_an_experiment_of_their_own_with_their_lineage(project):
    client = project.client()
    runs = client.search_runs([client.get_experiment_by_name(NOTES).experiment_id])
    assert {run.data.tags["experiment"] for run in runs} == set(SMALLER)
    for run in runs:
        assert run.info.status == "FINISHED"
        assert len(run.data.tags["lineage.key"]) == 32
        assert run.data.params["train.epochs"] == "2"
    assert client.get_experiment_by_name("xtcav") is None


def test_a_group_of_seeds_has_the_network_itself_and_another_and_the_table_their_spread(project):
    assert "seed 1 is that of experiments/trained/signal-40" in project.first_output
    first, second = (project.json(f"experiments/results/signal-40.seed-{seed}.json") for seed in (1, 2))
    assert first == project.json("experiments/results/signal-40.json") != second
    mean = (first["accuracy"] + second["accuracy"]) / 2
    row = next(row for row in project.table if row.startswith("| **signal-40**"))
    assert f"; mean of 2 seeds {mean:.1%}, s.d. " in row
    assert ", 95 % interval of the mean " in row


def test_the_group_is_a_run_with_its_members_below_it(project):
    client = project.client()
    notes = [client.get_experiment_by_name(NOTES).experiment_id]
    (group,) = client.search_runs(notes, "tags.stage = 'group'")
    members = client.search_runs(notes, f"tags.`mlflow.parentRunId` = '{group.info.run_id}'")
    assert sorted(run.data.params["train.seed"] for run in members) == ["1", "2"]
    assert {run.data.tags["group.key"] for run in [*members, group]} == {group.data.tags["group.key"]}
    found = [project.json(f"experiments/results/signal-40.seed-{seed}.json")["accuracy"] for seed in (1, 2)]
    assert group.data.metrics["accuracy"] == pytest.approx(sum(found) / 2)
    assert group.data.metrics["accuracy_low"] <= group.data.metrics["accuracy"] <= group.data.metrics["accuracy_high"]
    assert "Mean of 2 seeds: accuracy" in group.data.tags["mlflow.note.content"]
    project.run("xtcav", "experiment", "--table")
    assert len(client.search_runs(notes)) == len(SMALLER) + 2  # the other member, and the group


def test_nothing_runs_twice_and_words_do_not_count(project):
    path = project.folder / "experiments/signal-40.yaml"
    path.write_text(path.read_text().replace("title: ", "title: again, "))
    said = project.run(*REPRO).stdout
    assert "xtcav experiment signal-40" not in said
    assert "train@signal-40' didn't change, skipping" in said


def test_the_table_tells_what_was_run_and_what_was_not(project):
    assert sum("not run" not in row for row in project.table if row.startswith("| **")) == 2


@pytest.mark.parametrize(
    "command", ["status", "metrics show", "metrics diff", "plots show", "exp show", "stage list", "pull"]
)
def test_the_project_s_own_dvc_knows_nothing_of_it(project, command):
    said = project.run("dvc", *command.split(), check=False)
    assert "experiments" not in said.stdout + said.stderr
    assert "signal-40" not in said.stdout + said.stderr
