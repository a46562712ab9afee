"""A small project of git and DVC as it was for a run, whose stages then run."""

import dataclasses
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm_process
from tests.conftest import git
from xtcav_ml.lineage import git as project_git
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools.reproduction import restored
from xtcav_ml.tools.reproduction.original import Original

SETTINGS = """
[core]
    remote = shots
['remote "shots"']
    url = ../../far away
['remote "team"']
    url = ssh://example.org/shots
    password = "x#y"
"""
OWN = b"data: {raw: raw}\n"


@pytest.fixture(autouse=True)
def _warm(shared, monkeypatch):
    """This Python, and `dvc` in it, are forks of the warm process."""
    for name, value in warm_process.environment(shared).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "executable", str(shared / "warm/python"))


def restore(run, root, folder):
    """Restore a run, and return the remarks that are kept with it."""
    restored.restore(run, root, folder)
    with restored.taken(run, folder) as (_, remarks):
        return remarks


def run_stages(folder):
    with (folder / "params.yaml").open() as held:
        return restored.run_stages(folder, {"KERAS_BACKEND": "jax"}, held.fileno())


def dvc(folder, *arguments):
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=folder, check=True, capture_output=True)


def run_of(root, params=OWN, patch=b"", **tags):
    commit = git(root, "rev-parse", "HEAD").strip()
    return Original("0" * 32, "one", {"git.commit": commit, **tags}, params, patch, {}, {}, {}, {}, {})


@pytest.fixture
def root(tmp_path):
    """A project with a file in DVC's cache, which its workspace has not, and a remote with a password."""
    folder = tmp_path / "root"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    dvc(folder, "init", "-q")
    (folder / ".dvc" / "config.local").write_text(SETTINGS)
    (folder / "params.yaml").write_bytes(OWN)
    (folder / "raw").mkdir()
    (folder / "raw" / "a.h5").write_text("shots")
    dvc(folder, "add", "-q", "raw")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "x")
    (folder / "raw" / "a.h5").unlink()
    return folder


def test_data_come_from_the_cache_and_settings_from_the_project(root, tmp_path):
    again = root / "reproduced" / "one"
    assert restore(run_of(root), root, again) == []
    assert (again / "raw" / "a.h5").read_text() == "shots"
    config = again / ".dvc" / "config.local"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    said = subprocess.run(
        [sys.executable, "-m", "dvc", "config", "--list"], cwd=again, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert f"remote.shots.url={tmp_path}/far away" in said
    assert "remote.team.password=x#y" in said
    assert "core.remote=shots" in said
    assert f"cache.dir={root}/.dvc/cache" in said
    assert str(root) not in config.read_text()  # the project may be moved, with this folder in it


def test_edits_and_the_run_s_own_parameters_count_and_what_is_not_so_is_said(root, tmp_path):
    other = b"data: {raw: data/raw/simulated}\n"  # which no cache needs to have
    tags = {"git.diff.left_out": "big.bin"}
    (root / "new.py").write_text("new\n")
    patch = project_git.patch(root).content
    remarks = restore(run_of(root, other, patch, **tags), root, tmp_path / "again")
    assert (tmp_path / "again" / "new.py").read_text() == "new\n"
    assert [remark.split(",")[0] for remark in remarks] == ["not in the run", "params.yaml is the run's own"]
    assert "big.bin" in remarks[0]
    assert (tmp_path / "again" / "params.yaml").read_bytes() == other


def test_data_that_are_nowhere_are_one_line(root, tmp_path):
    for path in (root / ".dvc/cache/files/md5").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(UserError, match=r"raw: .*neither DVC's cache nor a remote.*Fix: run `dvc add`"):
        restored.restore(run_of(root), root, tmp_path / "again")
    assert not list(tmp_path.glob("*again*"))


def test_a_folder_is_held_by_one_at_a_time_and_is_no_other_run_s(root, tmp_path, capsys):
    run, again = run_of(root), tmp_path / "again"
    restored.restore(run, root, again)
    with pytest.raises(UserError, match=r"again: exists already .*--into"):
        restored.restore(run, root, again)
    with restored.taken(run, again) as (lock, _):
        heir = subprocess.Popen(["sleep", "1"], pass_fds=[lock])
    with restored.taken(run, again):
        assert heir.wait(timeout=120) == 0
    assert "waits for the processes" in capsys.readouterr().out
    for folder in (again, root):
        with (
            pytest.raises(UserError, match=r"exists already .*--into"),
            restored.taken(dataclasses.replace(run, run_id="1" * 32), folder),
        ):
            pass


STAGE = """\
stages:
  evaluate:
    cmd: python -c "import os, xtcav_ml; print(xtcav_ml.__file__, os.environ['KERAS_BACKEND'],
      'MLFLOW_TRACKING_URI' in os.environ, os.environ['DVC_ROOT'])" >> ../said && echo x > made
    deps: [params.yaml]
    outs: [made]
"""


def test_stages_run_though_cached_on_the_sources_of_their_folder(root, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("DVC_ROOT", "/elsewhere")
    (root / "dvc.yaml").write_text(STAGE)
    with pytest.raises(UserError, match=r"found '.*', expected .*src\)\. Fix: reproduce a run"):
        run_stages(root)
    package = root / "src" / "xtcav_ml"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    dvc(root, "repro")
    for path in (root / "made", root.parent / "said"):
        path.unlink()
    before = sum(len(files) for _, _, files in os.walk(root / ".dvc" / "cache"))
    (root / "params.yaml").write_bytes(OWN + b"# so that it is another run\n")
    for _ in range(2):
        (root / "dvc.lock").unlink()
        assert run_stages(root) == 0
        assert run_stages(root) == 0  # goes on: all is done
        (root / "params.yaml").write_bytes(OWN)
        (root / "made").unlink()
    assert (root.parent / "said").read_text() == 2 * f"{package}/__init__.py jax False {root}\n"
    assert sum(len(files) for _, _, files in os.walk(root / ".dvc" / "cache")) == before
    (root / "dvc.lock").unlink()
    (root / "dvc.yaml").write_text(STAGE.replace("print", "exit"))
    assert run_stages(root) != 0
