"""A disk that fills up: a clear error, the old output as it was, and an interpreter that ends in order."""

import hashlib

import pytest

from tests.end_to_end.conftest import Project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    large = {"train.model.hidden": [8000], "train.model.initial_sd": 0.01, "train.epochs": 1}  # 8 MB of weights
    project = Project.with_small_frames(
        tmp_path_factory.mktemp("full"), real=True, **{"simulate.lasing_shots": [15, 15], **large}
    )
    project.run("xtcav", "simulate")
    project.run("xtcav", "train")
    project.run("xtcav", "predict", "models/model.keras", "raw")
    return project


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


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
    before = digests(folder)
    done = project.run("bash", "-c", f"ulimit -f {kilobytes}; exec xtcav {command}", check=False)
    assert done.returncode == 1, done  # a crash would be 139
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("xtcav: ")]
    assert "room on its disk" in line
    assert "Traceback" not in done.stderr
    assert digests(folder) == before
    assert not list(folder.parent.glob(".*.tmp.*"))
