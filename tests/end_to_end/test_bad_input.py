"""What a user can get wrong: one line with file or key, rule, value and cure; exit code 1; earlier outputs as they were."""

import hashlib

import h5py
import numpy as np
import pytest

from tests.conftest import SHAPE
from tests.end_to_end.conftest import Project


def with_label(path, row, value):
    with h5py.File(path, "r+") as file:
        file["acq.peaksLabel"][row] = value


def replaced(path, name, data):
    with h5py.File(path, "r+") as file:
        del file[name]
        if data is not None:
            file[name] = data


def emptied_class(folder):
    for name in ("a.h5", "b.h5"):
        with h5py.File(folder / "raw" / name, "r+") as file:
            labels = file["acq.peaksLabel"][:]
            file["acq.peaksLabel"][:] = np.where(labels == 1, 2, labels)


def truncated(folder):
    path = folder / "raw/b.h5"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


CASES = {
    "unknown key": (
        lambda p: p.set(**{"train.optimizer.learningrate": 0.1}),
        ["learningrate", "expected learning_rate"],
    ),
    "out of range": (
        lambda p: p.set(**{"train.optimizer.momentum": 1.5}),
        ["train.optimizer.momentum", "less than", "1.5"],
    ),
    "simulate key": (lambda p: p.set(**{"simulate.shots_per_file": 0}), ["simulate.shots_per_file", "found 0"]),
    "network too deep": (
        lambda p: p.set(**{"train.model.blocks.0.pool_window": 99}),
        ["train.model.blocks.0.pool_window", "found 99", "expected at most"],
    ),
    "unreadable folder": (lambda p: p.set(**{"data.raw": "nowhere"}), ["data.raw", "nowhere", "not readable"]),
    "folder without files": (
        lambda p: p.set(**{"data.raw": "src"}),
        ["src: no raw files", "copy raw files there", "data.raw"],
    ),
    "missing dark run": (lambda p: p.set(**{"prepare.dark_run": 99}), ["prepare.dark_run", "68, 70, 71", "found 99"]),
    "truncated file": (lambda p: truncated(p.folder), ["raw/b.h5", "readable HDF5", "Fix: copy"]),
    "missing dataset": (
        lambda p: replaced(p.folder / "raw/a.h5", "acq.peaksLabel", None),
        ["raw/a.h5", "acq.peaksLabel: missing"],
    ),
    "wrong dtype": (
        lambda p: replaced(p.folder / "raw/a.h5", "xtcavimg", np.zeros((300, *SHAPE), "S4")),
        ["raw/a.h5", "xtcavimg", "wrong type (found |S4, expected numbers)"],
    ),
    "wrong shape": (
        lambda p: replaced(p.folder / "raw/a.h5", "xtcavimg", np.zeros((300, 20, 24), np.int16)),
        ["raw/a.h5", "xtcavimg", "wrong shape (found (300, 20, 24), expected (shots, 24, 20))"],
    ),
    "rows differ": (
        lambda p: replaced(p.folder / "raw/a.h5", "lasing", np.ones(299, int)),
        ["raw/a.h5", "number of rows", "lasing", "299"],
    ),
    "label out of range": (
        lambda p: with_label(p.folder / "raw/a.h5", 7, 4),
        ["raw/a.h5", "acq.peaksLabel", "not a class (found 4 in row 7"],
    ),
    "hidden layer of nothing": (lambda p: p.set(**{"train.model.hidden": [0]}), ["train.model.hidden.0", "found 0"]),
    "label that is no label": (
        lambda p: p.set(**{"prepare.label": "bld.L3energy"}),
        ["bld.L3energy", "not a whole number (found 4"],
    ),
    "minibatch too large": (
        lambda p: p.set(**{"train.batch_size": 5000}),
        ["train.batch_size", "training set", "found 5000"],
    ),
    "frame of nothing": (
        lambda p: p.set(**{"prepare.images": [{"step": "block_mean", "size": 21}]}),
        ["prepare.images", "1 x 0"],
    ),
    "class without shots": (lambda p: emptied_class(p.folder), ["acq.peaksLabel", "0 of class 1 (t0) in train"]),
}


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A project with small frames of its own, run up to prepare."""
    return Project.with_small_frames(tmp_path_factory.mktemp("bad"))


@pytest.fixture
def project(clean):
    """The clean project, put back afterwards."""
    kept = {path: path.read_bytes() for path in [*(clean.folder / "raw").iterdir(), clean.folder / "params.yaml"]}
    yield clean
    for path, content in kept.items():
        path.write_bytes(content)


def digests(project):
    names = (
        "data/prepared/train.h5",
        "data/prepared/validation.h5",
        "data/prepared/test.h5",
        "results/data.json",
        "dvc.lock",
    )
    return {name: hashlib.sha256((project.folder / name).read_bytes()).hexdigest() for name in names}


THROUGH_DVC = ("unknown key", "truncated file", "class without shots")
"""Cases that all of `dvc repro` is run on: one of params.yaml, two of files. The others take the same way, which is slow."""


def refused(project, through_dvc):
    """Run `dvc repro`, or the stages with which it begins; return that which failed."""
    if through_dvc:
        return project.run("dvc", "repro", check=False)
    done = project.run("xtcav", "validate", check=False)
    return done if done.returncode else project.run("xtcav", "check", check=False)


@pytest.mark.parametrize("name", CASES)
def test_one_line_and_nothing_lost(project, name):
    break_it, said = CASES[name]
    before = digests(project)
    break_it(project)
    done = refused(project, name in THROUGH_DVC)
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("xtcav: ")]
    for part in said:
        assert part in line
    assert "Traceback" not in done.stderr
    assert {**digests(project), "dvc.lock": ""} == {**before, "dvc.lock": ""}  # which may say that params.yaml is valid


def test_a_bad_simulate_section_leaves_the_simulated_shots(tmp_path):
    project = Project.copy(tmp_path)
    kept = tmp_path / "data/raw/simulated/kept.h5"
    kept.parent.mkdir(parents=True)
    kept.write_text("old shots")
    project.set(**{"simulate.dark_shots": -1})
    done = project.run("dvc", "repro", check=False)
    assert done.returncode != 0
    assert "simulate.dark_shots: invalid value (found " in done.stderr
    assert kept.read_text() == "old shots"


def test_without_results_the_tools_name_the_command_that_makes_them(tmp_path):
    project = Project.copy(tmp_path)
    for command, said in (
        ("summary", "make repro"),
        ("tune", "make repro"),
        ("promote", "make tune"),
    ):
        done = project.run("xtcav", command, check=False)
        assert done.returncode == 1
        assert said in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
