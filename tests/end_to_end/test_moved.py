"""A finished project in another folder: old runs are there, new ones come into it, and nothing is written anywhere else."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.end_to_end.conftest import Project

RATE = "train.optimizer.learning_rate"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project that has run once, in a folder that is copied for each test."""
    project = Project.finished(tmp_path_factory.mktemp("moved") / "finished")
    (run,) = project.runs()
    project.first_output = run.info.run_id
    return project


@pytest.fixture
def original(finished, tmp_path):
    """A copy of it that knows its folder: a run of this test is in its store, beside that of the finished one."""
    project = Project(tmp_path / "original")
    shutil.copytree(finished.folder, project.folder)
    project.first_output = finished.first_output
    project.run("xtcav", "runs")
    return project


def paths(folder):
    """Return all paths below a folder, with the time of the last change of each file."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def require_old_run(project, out):
    """Its listing, its files and its model come from the project's store."""
    assert project.first_output[:8] in project.run("xtcav", "runs").stdout
    assert "accuracy" in project.run("xtcav", "compare", project.first_output, ".").stdout
    done = project.run("xtcav", "predict", "models:/xtcav@candidate", "raw/dark.h5", "--out", str(out))
    assert done.returncode == 0
    for place in (project.run("xtcav", "summary").stdout, (project.folder / "results/resources/run.json").read_text()):
        assert "mlruns/mlflow.db" in place
        assert str(project.folder.parent) not in place


def train_again(project, rate, stage="record"):
    """A training goes to the project's store, with all its files; those of the test set too if `stage` is the last one."""
    project.set(**{RATE: rate})
    project.run("dvc", "repro", stage)
    new = [run for run in project.runs() if run.data.params.get(RATE) == str(rate)]
    assert [run.info.status for run in new] == ["FINISHED"]
    folder = project.folder / "mlruns/artifacts" / new[0].info.run_id
    assert (folder / "artifacts/lineage/params.yaml").is_file()
    assert (folder / "artifacts/predictions.csv").is_file() == (stage == "record")
    assert len(list((project.folder / "mlruns/artifacts/models").iterdir())) == 2


def move(original, folder):
    original.folder.rename(folder)


def copy_r(original, folder):
    subprocess.run(["cp", "-r", original.folder, folder], check=True)


def copy_a(original, folder):
    subprocess.run(["cp", "-a", original.folder, folder], check=True)


def clone_with_results(original, folder):
    original.run("git", "clone", "-q", str(original.folder), str(folder))
    for name in ("mlruns", "results", "models", "data", "raw", ".dvc/cache"):
        shutil.copytree(original.folder / name, folder / name, dirs_exist_ok=True)


@pytest.mark.parametrize(
    ("take", "name"),
    [(move, "there"), (copy_r, 'it\'s a "copy"'), (copy_a, "copy"), (clone_with_results, "clone #1")],
    ids=["mv", "cp -r", "cp -a", "clone"],
)
def test_old_runs_are_there_and_new_ones_come_into_it(original, tmp_path, take, name):
    there = Project(tmp_path / name)
    there.first_output = original.first_output
    take(original, there.folder)
    before = paths(original.folder)
    assert bool(before) == (take is not move)
    assert [line for line in there.run("dvc", "repro").stdout.splitlines() if line.startswith("Running stage")] == [
        "Running stage 'code':",
        "Running stage 'record':",
    ]
    require_old_run(there, tmp_path / "out")
    if take is not copy_a:  # to which it would be the same as to that of `cp -r`
        train_again(there, 0.06, "record" if take is move else "train")
    assert paths(original.folder) == before
    assert original.folder.exists() == (take is not move)
    assert {path.name for path in tmp_path.iterdir()} - {"out"} == {name} | ({"original"} if before else set())


def test_a_worktree_has_a_store_of_its_own(original, tmp_path):
    tree = Project(tmp_path / "tree")
    original.run("git", "worktree", "add", "-q", str(tree.folder))
    before = paths(original.folder / "mlruns")
    refused = tree.run("xtcav", "runs", check=False)
    assert "no run in " in refused.stderr
    assert tree.runs() == []
    assert paths(original.folder / "mlruns") == before


def test_a_symbolic_link_is_the_same_project(original, tmp_path):
    link = Project(tmp_path / "link")
    link.first_output = original.first_output
    link.folder.symlink_to(original.folder)
    require_old_run(link, tmp_path / "out")
    train_again(link, 0.07, "train")
    assert len(original.runs()) == 2


def test_in_another_home_nothing_is_written_to_the_old_one(original, tmp_path):
    there, homes = Project(tmp_path / "there"), [tmp_path / "home", tmp_path / "new home"]
    move(original, there.folder)
    for home in homes:
        home.mkdir()
    assert original.first_output[:8] in there.run("xtcav", "runs", HOME=str(homes[1])).stdout
    there.set(**{RATE: 0.08})
    there.run("dvc", "repro", HOME=str(homes[1]))
    assert list(homes[0].iterdir()) == []
    assert not original.folder.exists()


def test_a_project_that_may_only_be_read_is_one_line(original, tmp_path):
    locked = [original.folder / name for name in ("mlruns/mlflow.db", "mlruns", ".")]
    for path in locked:
        path.chmod(path.stat().st_mode & 0o555)
    before = paths(original.folder)
    limits = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    program = [sys.executable, "-c", "from xtcav_ml.cli.main import main; main()", "runs"]
    refused = Project(original.folder, real=True).run(*limits, *program, check=False)
    for path in locked[::-1]:
        path.chmod(0o755)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line.startswith(f"xtcav: {original.folder}/mlruns/mlflow.db: not writable ")
    assert "cp -r" in line
    assert paths(original.folder) == before


@pytest.fixture
def installed(tmp_path):
    """A project with a .venv as pip leaves it, full of this folder's path, made ready by make; libraries are this Python's."""
    project = Project.copy(tmp_path / "it's a $(project) #1", store=False, real=True)
    binaries, site = project.folder / ".venv/bin", project.folder / ".venv/lib/python3.11/site-packages"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", project.folder / ".venv"], check=True)
    (site / "libraries.pth").write_text(str(next(path for path in sys.path if path.endswith("site-packages"))))
    (site / "_editable_impl_xtcav_ml.pth").write_text(f"{project.folder}/src")
    body = "import sys\nfrom xtcav_ml.cli.main import main\nsys.exit(main())\n"
    (binaries / "xtcav").write_text(
        f"#!/bin/sh\n'''exec' \"{project.folder}/.venv/bin/python\" \"$0\" \"$@\"\n' '''\n{body}"
    )
    (binaries / "short").write_text(f"#!/short/.venv/bin/python3.11\n{body}")
    for name in ("xtcav", "short"):
        (binaries / name).chmod(0o755)
    make(project.folder, ".venv/installed")
    return project


def make(folder, *targets):
    """Run make with the Makefile of a project, which installs nothing."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = ["make", "PIP=true", f"PYTHON={sys.executable}", *targets]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


SOURCES = "import xtcav_ml; print(xtcav_ml.__file__)"


@pytest.mark.parametrize("take", [move, copy_r], ids=["mv", "cp -r"])
def test_the_programs_of_a_moved_project_run_its_own_code(installed, tmp_path, take):
    there = tmp_path / 'a "new" folder'
    take(installed, there)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}

    def run(*command):
        return subprocess.run(command, cwd=there, env=environment, capture_output=True, text=True, check=True).stdout

    assert run(".venv/bin/python", "-c", SOURCES) == f"{there}/src/xtcav_ml/__init__.py\n"
    (there / "params.yaml").write_text((there / "params.yaml").read_text().replace("trials: 30", "trials: 34"))
    (there / "src/xtcav_ml/config/base.py").open("a").write("# edited: other code would be refused\n")
    for name in ("xtcav", "short"):
        assert " 34 " in run(f".venv/bin/{name}", "params", "tune.trials")
    assert " 34 " in run("bash", "-c", ". .venv/bin/activate && xtcav params tune.trials")
    (there / ".venv/bin/short").write_text(
        (there / ".venv/bin/short").read_text().replace("#!/bin/sh\n", "#!/x/python3\n")
    )
    make(there, "install")  # as after `pip install` by hand
    assert (there / ".venv/bin/short").read_text().startswith("#!/bin/sh\n")


def test_the_code_of_another_project_is_refused_before_anything_runs(original):
    file = original.folder / "src/xtcav_ml/pipeline/train.py"
    file.write_text(file.read_text() + "# edited\n")
    before = paths(original.folder)
    refused = original.run("xtcav", "train", check=False)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert all(part in line for part in ("src/xtcav_ml/pipeline/train.py: ", str(ROOT / "src"), "make install"))
    assert paths(original.folder) == before


def test_no_file_of_a_finished_project_names_its_folder_but_the_database(original):
    name = str(original.folder).encode()
    naming = {path.relative_to(original.folder) for path in original.folder.rglob("*") if path.is_file()}
    naming = {path for path in naming if name in (original.folder / path).read_bytes()}
    naming = {path for path in naming if path.parts[0] not in (".git", ".dvc", "src")}
    assert {str(path).partition("-")[0] for path in naming} == {"mlruns/mlflow.db"}  # and SQLite's log, mlflow.db-wal
