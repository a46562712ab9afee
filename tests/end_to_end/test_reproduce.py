"""A run made again: in the clone that made it, and in another one, which has neither its commit nor its data."""

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import time

import pytest
from typer.testing import CliRunner

from tests import warm_process
from tests.conftest import write_shots
from tests.end_to_end.conftest import SMALL_FRAMES, Project, clean_environment
from xtcav_ml.cli import main
from xtcav_ml.lineage.fingerprint import Code
from xtcav_ml.tools import reproduce
from xtcav_ml.tools.reproduction import original, restored

EDIT = """
from xtcav_ml import extra

_evaluate_network = evaluate_network


def evaluate_network(threads, prepared, model, history, results, **more):
    _evaluate_network(threads, prepared, model, history, results, **more)
    path = results / "evaluation.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "extra": extra.VALUE}))
"""


@dataclasses.dataclass
class Clones:
    """Two clones of a repository, `here` and `there`, with one MLflow store, that of `here`."""

    here: Project
    there: Project
    clean: str  # runs of `there`
    edited: str

    def there_environment(self):
        """Return the variables for commands in `there`, with the sources that are there."""
        store = f"sqlite:///{self.here.folder}/mlruns/mlflow.db"
        sources = str(self.there.folder / "src")
        return {"MLFLOW_TRACKING_URI": store, "PYTHONPATH": sources}

    def run_there(self, *command, **options):
        """Run a command in `there`."""
        return self.there.run(*command, **self.there_environment(), **options)


@pytest.fixture(scope="module")
def clones(tmp_path_factory):
    top = tmp_path_factory.mktemp("reproduce")
    here = Project.copy(top / "here", **SMALL_FRAMES)
    there = Project(top / "there")
    here.run("git", "clone", "-q", "--bare", str(here.folder), str(top / "hub.git"))
    here.run("git", "remote", "add", "origin", str(top / "hub.git"))
    here.run("git", "clone", "-q", str(top / "hub.git"), str(there.folder))
    clones = Clones(here, there, "", "")
    for project in (here, there):
        project.run("dvc", "remote", "add", "-q", "--local", "-d", "shots", "../../remote")
    (there.folder / "raw").mkdir()
    for name, run, count, lasing in (("dark.h5", 68, 8, 0), ("a.h5", 70, 300, 1), ("b.h5", 71, 300, 1)):
        write_shots(there.folder / "raw" / name, run=run, count=count, lasing=lasing)
    there.run("dvc", "add", "-q", "raw")
    there.run("dvc", "push", "-q")
    there.run("git", "config", "user.email", "test@example.org")
    there.run("git", "config", "user.name", "test")
    there.run("git", "add", "-A")
    there.run("git", "commit", "-qm", "own files")
    there.run("git", "push", "-q")
    clones.run_there("dvc", "repro")
    clones.clean = there.json("results/resources/run.json")["run_id"]
    with (there.folder / "src/xtcav_ml/pipeline/evaluate.py").open("a") as file:
        file.write(EDIT)
    (there.folder / "src/xtcav_ml/extra.py").write_text("VALUE = 7\n")
    there.set(**{"train.optimizer.learning_rate": 0.04})
    clones.run_there("dvc", "repro")
    clones.edited = there.json("results/resources/run.json")["run_id"]
    return clones


STOPS = ((signal.SIGINT, "check"), (signal.SIGTERM, "prepare"), (signal.SIGKILL, "train"))
"""Signals, and the stages that have ended before them."""


@pytest.fixture(scope="module")
def again(clones):
    """The folder in which the clean run was made again, what the command said that was stopped, and the one that was not."""
    folder, said = clones.there.folder / "again", clones.there.folder.with_suffix(".said")
    command, lock = ("xtcav", "reproduce", clones.clean[:12], "--into", str(folder)), folder / "dvc.lock"
    for how, stage in STOPS:
        with said.open("ab") as output:
            started = subprocess.Popen(
                [Project.shared / "warm/xtcav", *command[1:]],
                cwd=clones.there.folder,
                env={**clean_environment(), **warm_process.environment(Project.shared), **clones.there_environment()},
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + 200
        while started.poll() is None and not (lock.is_file() and f"  {stage}:\n" in lock.read_text()):
            if time.monotonic() > deadline:
                started.kill()
            time.sleep(0.05)
        assert started.poll() is None, said.read_text()
        started.send_signal(how)
        started.wait(timeout=100)
    return folder, said.read_text(), clones.run_there(*command).stdout


def test_a_clean_run_comes_out_the_same_while_the_workspace_goes_on(clones, again):
    folder, _, said = again
    assert "note:" not in said
    assert f"run {clones.clean} is reproduced" in said
    assert "different" not in said.replace("differs", "")
    commit = clones.there.run("git", "rev-parse", "HEAD").stdout
    assert Project(folder).run("git", "rev-parse", "HEAD").stdout == commit
    assert Project(folder).run("git", "status", "--porcelain", "src", "params.yaml").stdout == ""
    assert "extra" not in json.loads((folder / "results/evaluation.json").read_text())
    assert len(clones.here.runs()) == 2  # its own run is in its own store
    assert len(Project(folder).runs()) == 1


def test_an_edited_run_of_another_clone_comes_from_its_commit_patch_and_remote(clones):
    assert not list((clones.here.folder / ".dvc").glob("cache/files/md5/*"))
    known = clones.here.run(
        "git", "cat-file", "-e", clones.there.run("git", "rev-parse", "HEAD").stdout.strip(), check=False
    )
    assert known.returncode != 0
    done = clones.here.run("xtcav", "reproduce", clones.edited)
    assert f"run {clones.edited} is reproduced" in done.stdout
    assert "is cached" not in done.stdout
    folder = clones.here.folder / "reproduced" / clones.edited[:8]
    metrics = json.loads((folder / "results/evaluation.json").read_text())
    assert metrics["extra"] == 7
    assert metrics == clones.there.json("results/evaluation.json")
    assert (folder / "src/xtcav_ml/extra.py").read_text() == "VALUE = 7\n"
    assert "learning_rate: 0.04" in (folder / "params.yaml").read_text()
    assert clones.here.run("git", "status", "--porcelain").stdout == ""
    again = clones.here.run("xtcav", "reproduce", clones.edited).stdout
    assert f"run {clones.edited} is reproduced" in again
    assert "Running stage 'train'" not in again
    refused = clones.run_there("xtcav", "reproduce", clones.clean, "--into", str(folder), check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"xtcav: {folder}: ")
    assert "--into" in refused.stderr


def test_an_interrupted_one_goes_on_when_it_is_called_again(again):
    folder, before, said = again
    assert re.findall("Running stage '(.*)'", said) == ["evaluate", "record"]
    assert before.count("Running stage 'check'") == 1
    assert "is cached" not in before + said  # nothing was restored
    assert not list(folder.parent.glob(".again*"))


def test_what_does_not_come_out_the_same_is_named(clones, again, tmp_path, monkeypatch):
    monkeypatch.chdir(clones.here.folder)
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(restored, "restore", lambda first, root, folder: shutil.copytree(again[0], folder))
    monkeypatch.setattr(restored, "run_stages", lambda folder, settings, lock: 0)

    def told(name, change):
        fetched = original.fetch_run
        monkeypatch.setattr(original, "fetch_run", lambda root, prefix: change(fetched(root, prefix)))
        result = CliRunner().invoke(
            main.application(["reproduce"]), ["reproduce", clones.clean, "--into", str(tmp_path / name)]
        )
        monkeypatch.setattr(original, "fetch_run", fetched)
        rows = [line for line in result.stdout.splitlines() if line.rstrip("│ ").endswith("different")]
        return result.exit_code, [row.split("│")[1].strip() for row in rows], result.stdout

    code, rows, _ = told("same", lambda first: first)
    assert (code, rows) == (0, [])
    artifact = tmp_path / "evaluation.json"
    artifact.write_text(
        json.dumps({**json.loads((again[0] / "results/evaluation.json").read_text()), "accuracy": 0.125})
    )
    clones.here.client().log_artifact(clones.clean, str(artifact))
    code, rows, said = told("metric", lambda first: first)
    assert (code, rows) == (1, ["accuracy"])
    assert "0.125" in said
    assert "code that differs: none\nenvironment that differs: nothing\n" in said

    def otherwise(first):
        curves = {**first.curves, "val_loss": {**first.curves["val_loss"], 2: 9.5}}
        train = first.code["train"]
        other = Code("0", train.libraries, {**train.modules, "learning.fit": "0"})
        code = {**first.code, "train": other}
        return dataclasses.replace(first, curves=curves, code=code, environment={**first.environment, "numpy": "1.0"})

    code, rows, said = told("epoch", otherwise)
    assert (code, rows) == (1, ["accuracy", "val_loss, epoch 2"])
    assert "code that differs: learning.fit\n" in said
    assert said.index("note: numpy (1.0 in the run") < said.index("environment that differs: numpy (1.0 in the run")
    assert reproduce.REPRODUCED.name in (clones.here.folder / ".gitignore").read_text()
