"""`dvc repro` again and again on simulated frames: by other processes, with other parameters, and back."""

import math

import pytest

from tests import warm_process
from tests.end_to_end.conftest import FEWEST_SHOTS, Project

SMALLER = [{"step": "block_mean", "size": 4}, {"step": "log"}]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The default pipeline with few shots of fewer pixels, run once."""
    project = Project.copy(tmp_path_factory.mktemp("project"), **FEWEST_SHOTS, **{"prepare.images": SMALLER})
    project.run("dvc", "repro", **{warm_process.ALL_FRAMES: "1"})
    return project


@pytest.fixture(scope="module")
def two_runs(project):
    """The same project after a second run with another learning rate."""
    project.set(**{"train.optimizer.learning_rate": 0.01})
    project.second_output = project.run("dvc", "repro").stdout
    return project


def test_other_processes_give_the_same_bytes(project):
    """The first run was of the warm process, this one has a new process a stage: the tests may use either."""
    before = (project.folder / "dvc.lock").read_bytes()
    stages = Project(project.folder, real=True).run("dvc", "repro", "--force").stdout.count("Running stage")
    assert stages == 8
    assert (project.folder / "dvc.lock").read_bytes() == before


def test_another_learning_rate_trains_again_and_simulates_nothing(two_runs):
    output = two_runs.second_output
    assert "Running stage 'train'" in output
    assert "Stage 'prepare' didn't change, skipping" in output
    assert "simulate' didn't change, skipping" in output
    run = two_runs.runs("tags.stage = 'train'")[-1]
    assert run.data.params["train.optimizer.learning_rate"] == "0.01"
    assert run.data.tags["git.dirty"] == "true"  # params.yaml is not committed
    assert not math.isnan(run.data.metrics["accuracy"])


def test_summary_tells_what_a_user_wants_to_know(two_runs):
    said = two_runs.run("xtcav", "summary").stdout
    metrics = two_runs.json("results/evaluation.json")
    run = two_runs.runs("tags.stage = 'train'")[-1]
    assert run.data.metrics["accuracy"] == pytest.approx(metrics["accuracy"])
    for part in (
        f"Test accuracy {metrics['accuracy']:.1%}",
        "95 % interval",
        "peak memory",
        run.info.run_id,
        "make tune",
    ):
        assert part in said


def test_a_stage_run_by_hand_leaves_the_cache_alone(two_runs):
    locked = {out["path"]: out["md5"] for out in two_runs.lock()["stages"]["train"]["outs"]}
    digest = locked["results/history.jsonl"]
    cached = two_runs.folder / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
    before = cached.read_bytes()
    two_runs.run("xtcav", "train")
    assert cached.read_bytes() == before
    assert "Running stage 'evaluate'" not in two_runs.run("dvc", "repro").stdout  # and the bytes are the same again


def test_a_run_of_a_clean_commit_becomes_the_champion_and_one_of_edited_parameters_does_not(two_runs):
    first, second = (two_runs.runs("tags.stage = 'train'")[i] for i in (0, -1))
    assert "is now the champion" in two_runs.run("xtcav", "promote-model", first.info.run_id[:16]).stdout
    done = two_runs.run("xtcav", "promote-model", "candidate", check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"xtcav: run {second.info.run_id}: not of a clean commit")
    champion = two_runs.client().get_model_version_by_alias("xtcav", "champion")
    assert champion.run_id == first.info.run_id


def test_going_back_restores_from_the_cache(two_runs):  # the last here: the others want the second run's results
    first = two_runs.runs("tags.stage = 'train'")[0].data.metrics["accuracy"]
    two_runs.set(**{"train.optimizer.learning_rate": 0.02})
    output = two_runs.run("dvc", "repro").stdout
    assert "Stage 'train' is cached - skipping run" in output
    assert two_runs.json("results/evaluation.json")["accuracy"] == pytest.approx(first)
