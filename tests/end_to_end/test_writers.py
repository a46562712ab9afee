"""Two at once, and those whose `dvc` was killed: one of them writes, and each result has one run."""

import contextlib
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.commands import finished_project
from tests.end_to_end.conftest import Project, clean_environment
from xtcav_ml.config.paths import BEST, REPORT


class Trainers(threading.Thread):
    """Counts the processes that run `xtcav train` in a folder, until it is told to end.

    What one of them has forked, to start a program, looks like it for a moment and does not count, nor does one that the kernel
    is killing, which may wait for a disk.
    """

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder, self.most, self.over = folder, 0, threading.Event()

    def now(self):
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_text().split("\0")
                is_trainer = [Path(word).name for word in words[-3:]] == ["xtcav", "train", ""]
                if is_trainer and (process / "cwd").resolve() == self.folder and not is_killed(process):
                    found[int(process.name)] = parent_of(process)
            except OSError:  # it has ended
                continue
        return [one for one, parent in found.items() if parent not in found]

    def run(self):
        while not self.over.wait(0.05):
            self.most = max(self.most, len(self.now()))


def parent_of(process):
    """Return the parent's number of a process, by its folder in /proc. Raises OSError if it has ended."""
    return int((process / "stat").read_text().rpartition(")")[2].split()[1])


def is_killed(process):
    """Return whether SIGKILL, number 9, waits for a process, by its folder in /proc. Raises OSError if it has ended."""
    masks = [line.split()[1] for line in (process / "status").read_text().splitlines() if "Pnd:" in line]
    return any(int(mask, 16) >> 8 & 1 for mask in masks)


def start(project):
    """Start `dvc repro` as a shell does, so that a kill of it alone is possible."""
    program = Path(sys.executable).parent / "dvc"
    environment = {**clean_environment(), "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    with said_by(project).open("wb") as said:
        return subprocess.Popen(
            [program, "repro", "--single-item", "train"], cwd=project.folder, env=environment, stdout=said, stderr=said
        )


def said_by(project):
    return project.folder.with_suffix(".said")


def wait_for(running, condition):
    """Wait until a condition is met, or the program has ended."""
    while running.poll() is None and not condition():
        time.sleep(0.02)  # each look is at all processes


def reached(folder):
    """Return the last epoch whose state is on disk."""
    return max((int(one.stem.split("-")[1]) for one in folder.glob("models/checkpoints/*/*.ckpt")), default=0)


def has_ended(project):
    """Return whether MLflow has a run that is finished."""
    address = f"file:{project.folder}/mlruns/mlflow.db?mode=ro"
    with contextlib.closing(sqlite3.connect(address, uri=True)) as database:
        return database.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]


def kill_often(folder, times, epochs):
    """Kill `dvc repro` alone while its training runs, again and again; then let it end: one trainer at a time, one run.

    The last kill comes when the run has ended, and DVC has not recorded the model yet.
    """
    project = Project.with_small_frames(folder, **{"train.epochs": epochs})
    watch, choose = Trainers(folder.resolve()), random.Random(2)
    watch.start()
    number = 0
    while number < times:
        killed, before = watch.now(), reached(folder)
        running = start(project)
        wait_for(running, lambda killed=killed: set(watch.now()) - set(killed))
        if running.poll() is not None:  # a kill of DVC while it writes its list, which `make repro` mends
            assert "RWLock-file" in said_by(project).read_text()
            assert "removed, it was torn" in project.run("xtcav", "validate").stdout
            continue
        if number == times - 1:
            wait_for(running, lambda: has_ended(project))
        elif number % 4 == 2:
            wait_for(running, lambda before=before: reached(folder) > before)
            time.sleep(choose.uniform(0, 0.3))
        elif number % 4:  # Python starts, and libraries, before it trains
            time.sleep(choose.uniform(0, 3))
        assert running.poll() is None, said_by(project).read_text()
        assert watch.most <= 1
        number += 1
        print(f"kill {number} of {times}, after epoch {reached(folder)}", flush=True)
        running.kill()
        running.wait()
    assert "train" not in project.lock()["stages"]
    made = (folder / "models/model.keras").read_bytes(), (folder / "results/history.jsonl").read_bytes()
    done = project.run("dvc", "repro")
    watch.over.set()
    watch.join()
    assert watch.most == 1
    assert [run.info.status for run in project.runs("tags.stage = 'train'")] == ["FINISHED"]
    assert made == ((folder / "models/model.keras").read_bytes(), (folder / "results/history.jsonl").read_bytes())
    assert f"resumes after epoch {epochs}" in done.stdout


def test_a_stage_ends_with_its_dvc_and_the_next_one_resumes(tmp_path):
    kill_often(tmp_path / "project", times=4, epochs=40)


@pytest.mark.slow
def test_a_hundred_kills_of_dvc_alone(tmp_path):
    kill_often(tmp_path / "project", times=100, epochs=300)


@pytest.mark.slow
def test_forty_reports_and_promotions_beside_each_other(tmp_path):
    project = finished_project(tmp_path)
    best, page, params = (project.folder / name for name in (BEST, REPORT, "params.yaml"))
    best.parent.mkdir()
    shutil.copy(tmp_path / "best.json", best)
    before = params.read_bytes()
    project.run("xtcav", "promote")
    promoted = params.read_bytes()
    params.write_bytes(before)

    def work(process):
        for call in range(5):
            if (process + call) % 4 == 0:
                page.unlink(missing_ok=True)  # so that there is something to do
            project.run("xtcav", ("report", "promote")[(process + call) % 2])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert params.read_bytes() == promoted != before
    project.run("xtcav", "report")
    project.run("xtcav", "report", "--out", "alone.html")
    dated = r"\d{4}-\d\d-\d\d \d\d:\d\d|[0-9a-f]{64}"  # when it was made, and a digest that its name is part of
    made = {re.sub(dated, "", one.read_text()) for one in (page, project.folder / "alone.html")}
    assert len(made) == 1
    assert not list(project.folder.rglob(".*.tmp.*"))
    assert not list(project.folder.glob(".*.lock"))
