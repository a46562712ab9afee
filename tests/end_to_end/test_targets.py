"""What can be learned besides the peaks label: another label, numbers, with features, through `dvc repro` for real."""

import csv

import h5py
import numpy as np
import pytest

from tests.end_to_end.conftest import Project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Own files with a number that shows as the label does, absent in a third of the shots, and another label."""
    project = Project.with_small_frames(tmp_path_factory.mktemp("targets"), **{"train.epochs": 10})
    rng = np.random.default_rng(0)
    for path in (project.folder / "raw").iterdir():
        with h5py.File(path, "r+") as file:
            labels = file["acq.peaksLabel"][:]
            energy = 10 * labels + rng.normal(0, 0.1, len(labels))
            file["pulse.energy"] = np.where(rng.random(len(labels)) < 1 / 3, np.nan, energy)
            file["acq.enPeaksLabel"] = np.where(labels > 1, 1, 0).astype(np.int8)
            file["bld.gasdet"] = rng.normal(3, 1, len(labels)).astype(np.float32)
    return project


def test_classes_and_numbers_with_features(project):
    project.set(**{"prepare.regression": ["pulse.energy"], "prepare.features": ["bld.L3energy", "bld.gasdet"]})
    project.run("dvc", "repro")
    metrics = project.json("results/evaluation.json")
    assert metrics["accuracy"] > metrics["largest_class"] + 0.05
    found = metrics["regression"]["pulse.energy"]
    assert 0 < found["shots"] < metrics["shots"]
    assert found["rms_error"] < 0.8 * found["spread"]
    (run,) = project.runs("tags.stage = 'train'")
    assert run.data.metrics["regression.pulse.energy.rms_error"] == pytest.approx(found["rms_error"])
    assert {"val_squared_error", "val_accuracy"} <= run.data.metrics.keys()
    with (project.folder / "results/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(row["actual pulse.energy"] != "nan" for row in rows) == found["shots"]
    said = project.run("xtcav", "summary").stdout
    assert "pulse.energy: r.m.s. error" in said
    assert "regression.png" in said
    assert "a number in" in project.run("xtcav", "scan").stdout


def test_another_label_with_weights_instead_of_discarding(project):
    project.set(
        **{"prepare.label": "acq.enPeaksLabel", "prepare.classes": ["one", "two"], "prepare.balance.ratio": None},
        **{"prepare.regression": [], "prepare.features": [], "train.class_weights": True},
    )
    said = project.run("dvc", "repro").stdout
    assert list(project.json("results/evaluation.json")["classes"]) == ["one", "two"]
    assert project.json("results/evaluation.json")["accuracy"] > 0.6
    assert "0 balance" not in said


def test_numbers_alone(project):
    project.set(
        **{
            "prepare.label": None,
            "prepare.classes": [],
            "prepare.regression": ["pulse.energy"],
            "train.class_weights": False,
            "train.optimizer.learning_rate": 0.01,
        }
    )
    said = project.run("dvc", "repro").stdout
    assert "evaluate: pulse.energy: r.m.s. error" in said
    metrics = project.json("results/evaluation.json")
    assert "accuracy" not in metrics
    assert metrics["regression"]["pulse.energy"]["rms_error"] < 0.8 * metrics["regression"]["pulse.energy"]["spread"]
    project.run("xtcav", "show")
    project.run("xtcav", "summary")
    project.run("xtcav", "predict", "models/model.keras", "raw")
    with h5py.File(project.folder / "results/predictions/a.predictions.h5") as file:
        assert len(file["predicted.pulse.energy"]) == 300
        assert "probability" not in file


def test_the_same_shot_with_another_frame_is_an_error(project):
    kept = (project.folder / "raw/a.h5").read_bytes()
    (project.folder / "raw/copy.h5").write_bytes(kept)
    project.run("xtcav", "check")
    with h5py.File(project.folder / "raw/copy.h5", "r+") as file:
        file["xtcavimg"][17, 3, 4] += 1
    done = project.run("xtcav", "check", check=False)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("xtcav: ")]
    for part in ("raw/a.h5", "raw/copy.h5", "xtcavimg", "differs between the files", "in rows 17 and 17"):
        assert part in line
