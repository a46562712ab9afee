"""Two commits of results side by side, by DVC's own commands and by the project's. Nothing is trained for it."""

import csv
import json
import shutil

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT
from tests.end_to_end.conftest import Project

RATE = 0.0123
KEPT = ["dvc.lock", "data/raw/dvc.lock"]
NAMES = ("evaluation.json", "metrics.json", "predictions.csv", "learning_curves.csv", "data.json")
KEPT += [f"results/{name}" for name in NAMES]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The results that the project ships as the first commit; then others of another learning rate, made up."""
    folder = tmp_path_factory.mktemp("diff")
    project = Project.copy(folder, store=False)
    shutil.copy2(ROOT / "params.yaml", folder)
    for name in KEPT:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    commit(project, "first")
    project.set(**{"train.optimizer.learning_rate": RATE})
    lock = project.lock()
    lock["stages"]["train"]["params"]["params.yaml"]["train"]["optimizer"]["learning_rate"] = RATE
    with (folder / "dvc.lock").open("w") as file:
        YAML().dump(lock, file)
    table = rewrite(folder / "results/predictions.csv", lambda row: row | {"predicted": row["actual"]})
    rewrite(folder / "results/learning_curves.csv", lambda row: row | {"val_accuracy": float(row["val_accuracy"]) / 2})
    for name in ("evaluation", "metrics"):
        metrics = project.json(f"results/{name}.json") | {"accuracy": 1.0, "accuracy_low": 0.99}
        if name == "evaluation":
            metrics["classes"]["t0"]["recall"] = 1.0
            metrics["confusion"] = [[len(table) if i == j else 0 for j in range(4)] for i in range(4)]
        (folder / f"results/{name}.json").write_text(json.dumps(metrics))
    commit(project, "second")
    return project


def commit(project, message):
    project.run("git", "add", "--all")
    project.run("git", "commit", "-q", "-m", message)


def rewrite(path, change):
    """Change every row of a table; returns the rows."""
    with path.open(newline="") as file:
        rows = [change(row) for row in csv.DictReader(file)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return rows


def told(project, *command):
    return json.loads(project.run("dvc", *command, "HEAD~1", "HEAD", "--json").stdout)


def test_metrics_diff_tells_what_changed_and_nothing_else(project):
    found = told(project, "metrics", "diff")
    assert list(found) == ["results/metrics.json"]
    changed = found["results/metrics.json"]
    assert set(changed) == {"accuracy", "accuracy_low"}  # few, for a table: the others are in evaluation.json
    assert changed["accuracy"]["new"] == 1
    assert changed["accuracy"]["diff"] == pytest.approx(1 - changed["accuracy"]["old"])


def test_params_diff_tells_the_learning_rate_and_nothing_else(project):
    (changed,) = told(project, "params", "diff")["params.yaml"].items()
    assert changed[0] == "train.optimizer.learning_rate"
    assert changed[1]["new"] == RATE


def test_plots_diff_draws_both_learning_curves_and_both_confusion_matrices(project):
    drawn = told(project, "plots", "diff")["data"]
    for name, label in {
        "accuracy": "accuracy",
        "cross-entropy": "cross-entropy, nats",
        "results/predictions.csv": "predicted",
    }.items():
        (plot,) = drawn[name]
        assert plot["type"] == "vega"
        assert sorted(plot["revisions"]) == ["HEAD", "HEAD~1"]
        values = plot["content"]["data"]["values"]
        assert {row["rev"] for row in values} == {"HEAD", "HEAD~1"}
        assert label in json.dumps(plot["content"])
    rows = [row for row in drawn["accuracy"][0]["content"]["data"]["values"] if row["field"] == "val_accuracy"]
    last = {row["rev"]: float(row["val_accuracy"]) for row in rows}
    assert last["HEAD"] == pytest.approx(last["HEAD~1"] / 2)
    rows = drawn["results/predictions.csv"][0]["content"]["data"]["values"]
    assert all(row["actual"] == row["predicted"] for row in rows if row["rev"] == "HEAD")
    assert any(row["actual"] != row["predicted"] for row in rows if row["rev"] == "HEAD~1")


def test_compare_and_the_report_tell_the_same(project):
    said = project.run("xtcav", "compare", "HEAD~1", "HEAD").stdout
    gained = f"accuracy {100 * (1 - json.loads((ROOT / KEPT[2]).read_text())['accuracy']):+.1f} points"
    assert f"the model of HEAD is better than that of HEAD~1: {gained}" in said
    assert "train.optimizer.learning_rate" in said
    project.run("xtcav", "report")
    page = (project.folder / "results/report.html").read_text()
    revision = project.run("git", "rev-parse", "--short", "HEAD~1").stdout.strip()
    assert f"The model of this run is better than that of {revision}: {gained}" in page
    assert "train.optimizer.learning_rate" in page.partition("Changed parameters")[2].partition("</table>")[0]
    assert project.run("git", "status", "--porcelain").stdout == ""  # the page is of this machine
