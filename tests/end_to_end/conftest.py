"""The project as a user has it: a copy of this checkout in a folder of its own, small params, and `dvc repro` for real."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ruamel.yaml import YAML

from tests import warm_process
from tests.conftest import ROOT, SHAPE, lay_store, write_shots
from tests.end_to_end.chromium import CHROMIUM, PATIENCE, SWITCHES

MOST_TRAIN = {
    "prepare.split.train": 0.7,
    "prepare.split.validation": 0.15,
    "prepare.split.test": 0.15,
    "prepare.balance.ratio": 3.2,
}

FEW_SHOTS = {
    **MOST_TRAIN,
    "simulate.dark_shots": 4,
    "simulate.no_lasing_shots": 2,
    "simulate.lasing_shots": [120, 120],
    "simulate.shots_per_file": 60,
    "prepare.split.block": 5,
    "prepare.split.seed": 98,
    "prepare.split.gap": 1,
    "prepare.split.min_per_class": 1,
    "train.epochs": 2,
}
"""Full-size frames, but as few as give every split every class."""

FEWEST_SHOTS = {
    "simulate.seed": 11,
    "simulate.lasing_shots": [60, 60],
    "simulate.shots_per_file": 30,
    "prepare.split.seed": 13,
    "train.batch_size": 8,
}
"""Half as many, which only some seeds split so."""

SMALL_SEARCH = {
    "tune.space": {
        "train.optimizer.learning_rate": {"low": 0.01, "high": 0.3, "log": True},
        "train.model.blocks.0.kernel": {"choices": [3, 5]},
    },
    "tune.seeds": 0,
    "tune.minutes": 60,
    "train.threads": 1,
}
"""Of networks with one thread, by workers; no other seeds follow, and no machine is too slow."""

SMALL_FRAMES = {
    **MOST_TRAIN,
    "data.raw": "raw",
    "data.frame_shape": list(SHAPE),
    "prepare.dark_run": 68,
    "prepare.images": [
        {"step": "subtract_dark"},
        {"step": "roi", "rows": [0, SHAPE[0]], "columns": [0, SHAPE[1]]},  # of simulated frames too (`xtcav same`)
        {"step": "log"},
    ],
    "train.epochs": 3,
    "train.optimizer.learning_rate": 0.05,
    "train.model.initial_sd": 0.2,
    "train.model.blocks": [
        {"channels": 2, "kernel": 3, "stride": 1, "pool": "max", "pool_window": 2, "pool_stride": 2},
    ],
    "tune.epochs": 3,
    "tune.rungs": 0,
    "tune.seeds": 0,
    "tune.space": {"train.optimizer.momentum": {"low": 0.5, "high": 0.9}},
}
"""A network that trains in a second, on own files of frames of 24 x 20 pixels."""


class Project:
    """A folder with the project in it."""

    shared: ClassVar[Path]
    """A folder that all workers of the session have in common."""

    def __init__(self, folder: Path, real: bool = False) -> None:
        self.folder, self.real = folder, real
        self.first_output = self.second_output = self.output = ""  # what `dvc repro` or a tool printed

    @classmethod
    def copy(cls, folder: Path, store: bool = True, real: bool = False, **params: Any) -> "Project":
        """Copy what git tracks or would track, less results, and commit it with `params` (dotted names) changed.

        An empty MLflow database is there already, unless `store` is False: the project then makes its own.
        """
        names = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split("\0")
        for name in filter(None, names):
            result = "results" in Path(name).parts[:-1] or name.endswith(
                ("dvc.lock", "seeds/settings.json")
            )  # of full size
            if (ROOT / name).is_file() and not result:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        if store:
            lay_store(folder)
        project = cls(folder, real)
        project.set(**{**FEW_SHOTS, **params})
        for command in (
            ["git", "init", "-q", "-b", "main"],
            ["git", "config", "user.email", "test@example.org"],
            ["git", "config", "user.name", "test"],
            ["git", "add", "-A"],
            ["git", "commit", "-q", "-m", "start"],
        ):
            project.run(*command)
        return project

    @classmethod
    def with_small_frames(cls, folder: Path, real: bool = False, **params: Any) -> "Project":
        """Return a project with own files of small frames, prepared but not trained; `params` are of later stages."""
        shutil.copytree(_prepared(cls.shared), folder, dirs_exist_ok=True)
        project = cls(folder, real)
        project.set(**params)
        project.run("git", "commit", "-q", "--amend", "--no-edit", "-a")
        return project

    @classmethod
    def finished(cls, folder: Path, real: bool = False) -> "Project":
        """Return a project with own files of small frames after one `dvc repro`, committed with its results."""
        shutil.copytree(_finished(cls.shared), folder, dirs_exist_ok=True)
        return cls(folder, real)

    def run(self, *command: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project, with this Python's programs first on the PATH, or their warm copies if not `real`."""
        path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        programs = path if self.real else warm_process.environment(self.shared)
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**clean_environment(), **programs, **env},
            capture_output=True,
            text=True,
            timeout=550,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *command: str, warm: bool = False, **env: str) -> subprocess.Popen[bytes]:
        """Start an `xtcav` command and go on.

        What a warm one prints on standard error ends when the fork has ended that did the work.
        """
        environment = warm_process.environment(self.shared) if warm else {}
        return subprocess.Popen(
            [(self.shared / "warm" if warm else Path(sys.executable).parent) / "xtcav", *command],
            cwd=self.folder,
            env={**clean_environment(), **environment, **env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def set(self, **params: Any) -> None:
        """Change dotted names in params.yaml, as an editor would."""
        path = self.folder / "params.yaml"
        yaml = YAML()
        yaml.indent(mapping=2, sequence=4, offset=2)
        yaml.width = 4096
        tree = yaml.load(path.read_text())
        for dotted, value in params.items():
            *parents, last = (int(part) if part.isdigit() else part for part in dotted.split("."))
            place = tree
            for part in parents:
                place = place[part]
            place[last] = value
        with path.open("w") as file:
            yaml.dump(tree, file)

    def json(self, name: str) -> Any:
        """Return a JSON file's content."""
        return json.loads((self.folder / name).read_text())

    def lock(self) -> Any:
        """Return dvc.lock's content."""
        return YAML(typ="safe").load((self.folder / "dvc.lock").read_text())

    def client(self) -> Any:
        """Return an MLflow client on the project's store."""
        import mlflow

        return mlflow.MlflowClient(f"sqlite:///{self.folder}/mlruns/mlflow.db")

    def runs(self, filter_string: str = "") -> list[Any]:
        """Return the project's MLflow runs, oldest first."""
        client = self.client()
        experiment = client.get_experiment_by_name("xtcav")
        return list(
            client.search_runs([experiment.experiment_id], filter_string, order_by=["attributes.start_time ASC"])
        )


def _prepared(shared: Path) -> Path:
    """Return the folder of a project with own files of small frames, prepared once a session; to be copied."""
    folder = shared / "prepared"
    with warm_process.exclusive(shared / "prepared.lock"):
        if not folder.exists():
            project = Project.copy(shared / "preparing", **SMALL_FRAMES)
            (project.folder / "raw").mkdir()
            for name, run, count, lasing in (("dark.h5", 68, 8, 0), ("a.h5", 70, 300, 1), ("b.h5", 71, 300, 1)):
                write_shots(project.folder / "raw" / name, run=run, count=count, lasing=lasing)
            project.run("dvc", "repro", "prepare")
            project.folder.rename(folder)
    return folder


def _finished(shared: Path) -> Path:
    """Return the folder of a project with own files of small frames, run and committed once a session; to be copied."""
    folder = shared / "finished"
    with warm_process.exclusive(shared / "finished.lock"):
        if not folder.exists():
            project = Project.with_small_frames(shared / "finishing")
            project.run("git", "add", "raw")  # a run of a clean commit may be promoted
            project.run("git", "commit", "-q", "--amend", "--no-edit")
            project.run("dvc", "repro")
            project.run("git", "add", "-A")
            project.run("git", "commit", "-qm", "results")
            project.folder.rename(folder)
    return folder


def clean_environment() -> dict[str, str]:
    """This environment without what would point a stage elsewhere."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_"))}


@pytest.fixture(scope="session", autouse=True)
def _shared(shared: Path) -> None:
    Project.shared = shared


HERE = re.compile(r"(file|data|blob|about):|\w+://127\.0\.0\.1[:/]")
"""Addresses of this machine."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium; each test opens a window of its own, which shares nothing with the others."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture
def screen() -> dict[str, int]:
    """Return the size of the page, in pixels."""
    return {"width": 1700, "height": 2200}


@pytest.fixture
def page(browser: Any, screen: dict[str, int], tmp_path: Path) -> Iterator[Any]:
    """A page that reaches nothing but this machine, and must not have raised an error in the end."""
    errors: list[str] = []
    with browser.new_context(viewport=screen) as context:
        context.set_default_timeout(PATIENCE)
        context.route(
            "**/*",
            lambda route: route.continue_() if HERE.match(route.request.url) else route.abort(),
        )
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
        page.screenshot(path=tmp_path / "page.png")
    assert errors == []
