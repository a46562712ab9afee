"""Stages that are told to stop, or killed: nothing half done is left where somebody could read it."""

import hashlib
import random
import shutil
import signal
import time

import pytest

from tests.end_to_end.conftest import SMALL_FRAMES, Project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project.with_small_frames(tmp_path_factory.mktemp("interrupt"), **{"train.epochs": 10_000})


@pytest.mark.parametrize(("how", "warm"), [(signal.SIGTERM, True), (signal.SIGINT, False)], ids=["SIGTERM", "SIGINT"])
def test_a_training_told_to_stop_ends_its_run_killed(project, how, warm):
    history = project.folder / "results/history.jsonl"
    history.unlink(missing_ok=True)
    training = project.start("train", warm=warm)
    try:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and not (history.is_file() and history.read_text().count("\n") > 1):
            time.sleep(0.02)
        training.send_signal(how)
        _, said = training.communicate(timeout=60)
    finally:
        training.kill()
    assert training.returncode not in (0, -signal.SIGKILL)
    assert b"Traceback" not in said
    assert b"stopping after this step" in said
    run = project.runs("tags.stage = 'train'")[-1]
    assert run.info.status == "KILLED", said.decode()
    assert run.data.metrics["val_accuracy"] >= 0  # what there was is kept
    assert not (project.folder / "models/model.keras").exists()


def digests(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def kill_often(project, stage, folder, times):
    """Kill `stage` at random moments of its run: the output is then the old one, or none; at last it is made again."""
    complete = digests(folder)
    started = time.monotonic()
    project.run("xtcav", stage)
    seconds = time.monotonic() - started
    assert digests(folder) == complete
    choose = random.Random(0)
    for number in range(times):
        if number % 2:  # else it goes on with the shards that the last one has left
            shutil.rmtree(project.folder / "data/.shards", ignore_errors=True)
        running = project.start(stage, warm=True)
        time.sleep(choose.uniform(0, 1.1 * seconds))
        running.kill()
        running.communicate()
        assert not folder.exists() or digests(folder) == complete
    project.run("xtcav", stage)
    assert digests(folder) == complete
    assert not list(folder.parent.glob(".*.tmp.*"))


def test_a_killed_prepare_leaves_the_old_files_or_none(project):
    kill_often(project, "prepare", project.folder / "data/prepared", times=8)


def test_a_killed_simulate_leaves_the_old_files_or_none(project):
    project.set(**{"simulate.lasing_shots": [15, 15]})
    project.run("xtcav", "simulate")
    kill_often(project, "simulate", project.folder / "data/raw/simulated", times=8)


EPOCHS = 30


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """A project whose network draws random numbers, and what its training gives when nobody stops it."""
    blocks = [{**SMALL_FRAMES["train.model.blocks"][0], "batch_norm": True, "dropout": 0.1}]
    project = Project.with_small_frames(
        tmp_path_factory.mktemp("training"), **{"train.model.blocks": blocks, "train.epochs": EPOCHS}
    )
    project.run("dvc", "repro", "train")
    return project, results_of(project)


def results_of(project):
    """Return the digests of weights and history that DVC recorded."""
    outputs = project.lock()["stages"]["train"]["outs"]
    return {entry["path"]: entry["md5"] for entry in outputs}


def kill_training_often(training, times):
    """Kill the training after random epochs, again and again; `dvc repro` then takes it to its end."""
    project, expected = training
    kept = project.folder / "models/checkpoints"

    def reached():
        states = (path for path in kept.rglob("epoch-*.ckpt") if not (path.parent / "ended").exists())
        return max((int(path.stem.split("-")[1]) for path in states), default=0)

    choose = random.Random(1)
    for epoch in sorted(choose.choices(range(1, EPOCHS - 10), k=times)):
        running = project.start("train", warm=True)
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and reached() < epoch and running.poll() is None:
            time.sleep(0.002)
        time.sleep(choose.uniform(0, 0.05))  # about an epoch: also while it trains, and while it writes
        assert running.poll() is None, running.communicate()
        running.kill()
        running.communicate()
        assert reached() >= epoch
    before = len(project.runs("tags.stage = 'train'"))
    again = project.run("dvc", "repro", "--force", "--single-item", "train")
    runs = project.runs("tags.stage = 'train'")
    assert [run.info.status for run in runs] == ["FINISHED"] * before
    for name in ("val_accuracy", "train_loss"):
        rows = project.client().get_metric_history(runs[-1].info.run_id, name)
        assert [row.step for row in rows] == list(range(1, EPOCHS + 1))
    assert "resumes after epoch" in again.stdout
    assert results_of(project) == expected
    assert len(list(kept.glob("*/ended"))) == len(list(kept.glob("*/"))) == 1  # until another one ends


def test_a_training_killed_five_times_ends_in_the_same_bits(training):
    kill_training_often(training, times=5)


def test_a_killed_predict_goes_on_where_it_was(training, tmp_path):
    project, _ = training
    shots = tmp_path / "shots"
    shots.mkdir()
    for number in range(12):
        shutil.copyfile(project.folder / f"raw/{'ab'[number % 2]}.h5", shots / f"{number:02}.h5")
    model, whole, killed = project.folder / "models/model.keras", tmp_path / "whole", tmp_path / "killed"
    project.run("xtcav", "predict", str(model), str(shots), "--out", str(whole))
    expected = digests(whole)
    assert len(expected) == 12
    for done in (1, 5):
        running = project.start("predict", str(model), str(shots), "--out", str(killed), warm=True)
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and len(list(killed.glob("*.h5"))) < done:
            time.sleep(0.002)
        running.kill()
        running.communicate()
        kept = {name: digest for name, digest in digests(killed).items() if ".tmp." not in name}
        assert done <= len(kept) < 12
        assert kept.items() <= expected.items()
    said = project.run("xtcav", "predict", str(model), str(shots), "--out", str(killed)).stdout
    assert f"12 files with {model}, {len(kept)} of them skipped as done" in " ".join(said.split())
    assert digests(killed) == expected


@pytest.mark.slow
def test_a_training_killed_two_hundred_times_ends_in_the_same_bits(training):
    kill_training_often(training, times=200)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["prepare", "simulate"])
def test_fifty_kills(project, stage):
    folder = project.folder / {"prepare": "data/prepared", "simulate": "data/raw/simulated"}[stage]
    project.run("xtcav", stage)
    kill_often(project, stage, folder, times=50)
