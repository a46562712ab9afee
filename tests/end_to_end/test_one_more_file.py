"""One more raw file, through DVC: one shard is made and pushed, no frame is stored twice, and another clone can train."""

import shutil

import h5py
import pytest

from tests.conftest import write_shots
from tests.end_to_end.conftest import Project

FRAMES = "data/prepared/frames/shards"


def objects(folder):
    return {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with a remote that has all its data, after one more raw file was prepared; `pushed` is what that added."""
    project = Project.with_small_frames(tmp_path_factory.mktemp("more") / "project")
    remote = project.folder.parent / "remote"
    project.run("dvc", "remote", "add", "-d", "here", str(remote))
    write_shots(project.folder / "raw/b2.h5", run=74, count=100)
    project.run("dvc", "repro", "prepare")  # all: to a copy of a project all its raw files are new
    project.run("dvc", "push")
    before = objects(remote)
    write_shots(project.folder / "raw/c.h5", run=72, count=300)
    project.output = project.run("dvc", "repro", "prepare").stdout
    project.run("dvc", "push")
    project.pushed = {path: size for path, size in objects(remote).items() if path not in before}
    return project


def test_the_other_shards_are_kept_although_dvc_has_removed_the_outputs(project):
    assert "Running stage 'prepare'" in project.output
    assert "700 frames of 3 files kept of an earlier prepare" in project.output


def test_a_push_moves_its_shard_and_the_index(project):
    shard = (project.folder / FRAMES / "c.h5").stat().st_size
    sizes = sorted(project.pushed.values())
    assert sizes.count(shard) == 1
    index = [(project.folder / f"data/prepared/{name}.h5").stat().st_size for name in ("train", "validation", "test")]
    assert sum(sizes) < shard + sum(index) + 1000  # and the list of the shards


def test_frames_are_on_the_disk_once(project):
    for shard in (project.folder / FRAMES / "b2.h5", project.folder / FRAMES / "c.h5"):
        names = [
            path
            for folder in (".dvc/cache", "data")
            for path in (project.folder / folder).rglob("*")
            if path.is_file() and path.samefile(shard)
        ]
        assert len(names) == 3, names  # prepared, in DVC's cache, and kept


def test_a_clone_has_all_it_needs_from_the_remote(project, tmp_path):
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "one more")
    project.run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    clone.run("dvc", "pull", "prepare")
    assert not (clone.folder / "data/.shards").exists()
    shutil.copytree(project.folder / "raw", clone.folder / "raw", dirs_exist_ok=True)
    clone.run("xtcav", "show")
    assert "Stage 'prepare' didn't change, skipping" in clone.run("dvc", "repro", "prepare").stdout


def test_a_damaged_frame_is_mended_by_what_the_line_says(project):
    shard = project.folder / FRAMES / "a.h5"
    whole = shard.read_bytes()
    shard.chmod(0o644)
    with h5py.File(shard) as file:
        start, size = file["image"].id.get_offset(), file["image"].id.get_storage_size() // len(file["image"])
        count = len(file["image"])
    with shard.open("r+b") as file:
        for number in range(count):  # of each frame one pixel: a command may read some of them
            file.seek(start + number * size)
            file.write(b"\xff\x7f")
    done = project.run("xtcav", "show", check=False)
    assert done.returncode == 1
    (cure,) = [part for part in done.stderr.split("`") if part.startswith("find ")]
    project.run("bash", "-c", cure)
    assert not shard.exists()
    project.run("dvc", "repro", "prepare")
    assert shard.read_bytes() == whole
