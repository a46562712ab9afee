"""One more raw file, through DVC: one shard is made and pushed, no frame is stored twice, and another clone can train."""

import os
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


def overwrite(path, content, places):
    """Write over a file in place as a failing disk does: its mode and time stay, by which DVC takes it to be as it was."""
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        for place in places:
            file.seek(place)
            file.write(content)
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def places_of(path):
    """Return a place in each frame of a shard, as a command may read some of them; in another file its middle."""
    with h5py.File(path) as file:
        if "image" not in file:
            return [path.stat().st_size // 2]
        start, count = file["image"].id.get_offset(), len(file["image"])
        return range(start, start + file["image"].nbytes, file["image"].nbytes // count)


@pytest.mark.parametrize("name", ["frames/shards/a.h5", "frames/dark.h5", "test.h5"])
def test_damage_is_mended_by_what_the_line_says(project, name):
    path = project.folder / "data/prepared" / name
    whole = path.read_bytes()
    overwrite(path, b"\xff\x7f", places_of(path))
    assert path.read_bytes() != whole
    done = project.run("xtcav", "show", "data/prepared/test.h5", check=False)
    assert done.returncode == 1
    (cure,) = [part for part in done.stderr.split("`") if part.startswith("find ")]
    project.run("bash", "-c", cure)
    assert not path.exists()
    project.run("dvc", "repro", "prepare")
    assert path.read_bytes() == whole
