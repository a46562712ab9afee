"""The project's folder, and whose code runs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from xtcav_ml.lineage import project
from xtcav_ml.system.errors import UserError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "project/sub/deeper").mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / "project" / name).write_text("")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path / "project/sub/deeper")
    return tmp_path / "project"


def test_the_root_is_the_nearest_above_and_follows_a_project_that_is_moved_meanwhile(folder):
    root = project.find_root()
    assert root.samefile(folder)
    there = folder.rename(folder.parent / "there")
    assert root.samefile(there)


def test_in_a_stage_it_is_that_of_dvc(folder, monkeypatch):
    (folder / "sub/dvc.yaml").write_text("")
    (folder / "sub/params.yaml").write_text("")  # an experiment's temporary copy
    monkeypatch.setenv("DVC_ROOT", str(folder))
    root = project.find_root()
    assert root.samefile(folder)
    assert not root.is_absolute()
    monkeypatch.setenv("DVC_ROOT", str(folder / "experiments"))  # the notes', a DVC project in the project
    monkeypatch.chdir(folder)
    assert project.find_root() == Path()
    monkeypatch.setenv("DVC_ROOT", "/elsewhere")  # of the user's shell
    with pytest.raises(UserError, match=r"DVC_ROOT: .*found '/elsewhere'.*Fix: unset DVC_ROOT"):
        project.find_root()


def test_outside_of_a_project_is_one_line(folder, monkeypatch):
    monkeypatch.chdir("/")
    with pytest.raises(UserError, match=r"/: .*dvc\.yaml.*Fix: "):
        project.find_root()
    project.require_own_code()


def run(folder, **env):
    """Run a command in `folder` with the code of this checkout."""
    command = [sys.executable, "-c", "from xtcav_ml.cli.main import main; main()", "params", "tune.trials"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **env}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("change", ["edited", "added", "removed"])
def test_code_of_another_project_is_refused_in_one_line(folder, change):
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "params.yaml", folder)
    assert run(folder).returncode == 0  # the same code
    file = folder / "src/xtcav_ml/science/labels.py"
    if change == "edited":
        file.write_text(file.read_text() + "# edited\n")
    elif change == "added":
        file = file.with_name("mine.py")
        file.write_text("")
    else:
        file.unlink()
    refused = run(folder / "sub")
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    parts = (f"src/xtcav_ml/science/{file.name}: ", str(ROOT / "src"), str(folder / "src"), "make install")
    assert all(part in line for part in parts)
    assert run(folder, PYTHONPATH=str(folder / "src")).returncode == 0
    assert run(Path("/")).stderr.startswith("xtcav: params.yaml: ")
