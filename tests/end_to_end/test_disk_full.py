"""A disk that fills up: a clear error, the old output as it was, and an interpreter that ends in order."""

import hashlib
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from tests.commands import COMMANDS, SHORT, finished_project, shell_line
from tests.end_to_end.conftest import Project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    large = {"train.model.hidden": [8000], "train.model.initial_sd": 0.01, "train.epochs": 1}  # 8 MB of weights
    project = Project.with_small_frames(tmp_path_factory.mktemp("full"), **{"simulate.lasing_shots": [15, 15], **large})
    project.run("xtcav", "simulate")
    project.run("xtcav", "train")
    project.run("xtcav", "predict", "models/model.keras", "raw")
    return project


def digests(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(
    ("command", "output", "kilobytes"),
    [
        *(("prepare", "data/prepared", size) for size in (0, 3, 60, 150)),
        *(("simulate", "data/raw/simulated", size) for size in (0, 900, 5000)),
        ("train", "models", 4000),
        ("predict models/model.keras raw", "results/predictions", 2),
    ],
)
def test_one_line_and_the_old_output(project, command, output, kilobytes):
    folder = project.folder / output
    if "predict" in command:
        for path in folder.iterdir():
            path.unlink()  # or there would be nothing to do
    shutil.rmtree(project.folder / "data/.shards", ignore_errors=True)  # or `prepare` would have little to write
    before = digests(folder)
    real = Project(project.folder, real=True)
    done = real.run("bash", "-c", f"ulimit -f {kilobytes}; exec xtcav {command}", check=False)
    assert done.returncode == 1, done  # a crash would be 139
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("xtcav: ")]
    assert "room on its disk" in line
    assert "Traceback" not in done.stderr
    assert digests(folder) == before
    assert not list(folder.parent.glob(".*.tmp.*"))


PLENTY, PAGE = "900m", 4  # kilobytes of a page, in which a file system in memory has its room
OWN_ORDER = ("mlruns/", "results/tuning/", "results/resources/", "results/history.jsonl", "models/checkpoints/")
"""What grows while a command runs, and is in order at any length."""


class SmallDisk:
    """A file system in memory with a copy of a project, whose free space is set before each command."""

    def __init__(self, source: Project, folder: Path) -> None:
        self.source, self.mount, self.project = source.folder.parent, folder, Project(folder / "project")

    def resize(self, size: str) -> None:
        remount = ["mount", "-o", f"remount,size={size}", self.mount]
        done = subprocess.run(remount, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{size}, {self.used()} used: {done.stderr}"

    def renew(self) -> None:
        """Make the copy again, with plenty of room."""
        self.resize(PLENTY)
        for path in self.mount.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(self.source, self.mount, dirs_exist_ok=True, symlinks=True)

    def run(self, name: str, kilobytes: int) -> tuple[subprocess.CompletedProcess[str], int]:
        """Run a command with so much room; return how it ended, and how much more is used meanwhile at most."""
        self.project.run("bash", "-c", COMMANDS[name].before)
        before = most = self.used()
        over = threading.Event()

        def watch() -> None:
            nonlocal most
            while not over.wait(0.002):
                most = max(most, self.used())

        self.resize(f"{before + kilobytes}k")
        watching = threading.Thread(target=watch)
        watching.start()
        try:
            return self.project.run("bash", "-c", shell_line(name), check=False, TMPDIR="/tmp"), most - before
        finally:
            over.set()
            watching.join()
            self.resize(PLENTY)

    def used(self) -> int:
        state = os.statvfs(self.mount)
        return (state.f_blocks - state.f_bfree) * state.f_frsize // 1024

    def files(self) -> dict[str, str]:
        """Return the digests of the project's files."""
        paths = (path for path in self.project.folder.rglob("*") if path.is_file() and ".git" not in path.parts)
        names = {path.relative_to(self.project.folder).as_posix(): path for path in paths}
        return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in names.items()}


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    source = finished_project(tmp_path_factory.mktemp("source"))
    folder = tmp_path_factory.mktemp("disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={PLENTY}", "tmpfs", folder], check=True)
    yield SmallDisk(source, folder)
    subprocess.run(["umount", folder], check=True)


def require_order(disk, name, kilobytes, run_again):
    """Run a command with so much room; if it fails, then by one line, with the old files; and again with more room.

    `run_again` has the states from which it was, and gets this one.
    """
    disk.renew()
    disk.project.run("bash", "-c", COMMANDS[name].before)
    before = disk.files()
    done, _ = disk.run(name, kilobytes)
    after = disk.files()
    assert not [path for path in after if ".tmp." in path], after
    if done.returncode:
        lines = done.stderr.splitlines()
        assert done.returncode == 1, done
        assert lines, done
        others = ("INFO", "I0", "WARNING", "xtcav: MLflow: waits for")  # libraries' own, and what a slow machine adds
        assert len([line for line in lines if not line.startswith(others)]) == 1, done.stderr
        assert lines[-1].startswith("xtcav: "), done.stderr
        assert "room" in lines[-1], done.stderr
        assert "a file: " not in lines[-1], done.stderr
        changed = [path for path in before if before[path] != after.get(path) and not path.startswith(OWN_ORDER)]
        assert not changed
        if after not in run_again:
            run_again.append(after)
            again = disk.project.run("bash", "-c", shell_line(name), check=False)
            assert again.returncode == 0, again.stderr
    return done.returncode


needs_mount = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system; the tests above need none")


@needs_mount
@pytest.mark.parametrize(
    ("name", "kilobytes"),
    [("tune", 0), ("tune", 150), ("record", 0), ("train", 40), ("evaluate", 12), ("report", 100), ("promote", 0)],
)
def test_a_small_disk_is_one_line_and_the_old_output(disk, name, kilobytes):
    assert require_order(disk, name, kilobytes, []) == 1


@needs_mount
@pytest.mark.slow
def test_the_doctor_finds_a_full_disk(disk):
    disk.renew()
    done, needed = disk.run("doctor", 0)
    assert (done.returncode, done.stderr, needed) == (1, "", 0)
    assert "disk: little room (found 0.0 GB" in done.stdout


@needs_mount
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*SHORT} - {"doctor"}))
def test_every_command_with_twenty_sizes_of_the_free_space(disk, name):
    disk.renew()
    done, needed = disk.run(name, 500_000)
    assert done.returncode == 0, done.stderr
    sizes = {needed * step // 20 // PAGE * PAGE for step in range(20)}  # less than a page more makes no difference
    run_again = []
    codes = [require_order(disk, name, size, run_again) for size in sorted(sizes)]
    print(f"{name}: needs {needed} kB; refused {sum(codes)} of {len(codes)} times, leaving {len(run_again)} states")
