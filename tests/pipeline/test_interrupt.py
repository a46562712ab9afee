"""A training that is told to stop: one line, no traceback, and a run in MLflow that says how it ended."""

import signal
import time

import pytest

from tests.pipeline.conftest import Project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project.with_small_frames(tmp_path_factory.mktemp("interrupt"), **{"train.epochs": 10_000})


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_killed(project, how):
    history = project.folder / "results/history.jsonl"
    history.unlink(missing_ok=True)
    training = project.start("train")
    try:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and not (history.is_file() and history.read_text().count("\n") > 1):
            time.sleep(0.1)
        training.send_signal(how)
        _, said = training.communicate(timeout=60)
    finally:
        training.kill()
    assert training.returncode not in (0, -signal.SIGKILL)
    assert b"Traceback" not in said
    run = project.runs("tags.stage = 'train'")[-1]
    assert run.info.status == "KILLED"
    assert run.data.metrics["val_accuracy"] >= 0  # what there was is kept
    assert not (project.folder / "models/model.keras").exists()
