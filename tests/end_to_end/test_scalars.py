"""Made-up arrays in the layout of public ones: imported, learned through `dvc repro`, predicted, and as an experiment."""

import h5py
import numpy as np
import pytest

from tests.end_to_end.conftest import Project
from tests.lcls2017_files import FEATURES, write_arrays


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project that learns the delay from scalars, after one `dvc repro`."""
    project = Project.copy(tmp_path_factory.mktemp("scalars"))
    write_arrays(project.folder / "arrays", shots=1200)
    project.run("xtcav", "import", "lcls2017", "arrays")
    project.set(
        **{"data.raw": "data/raw/lcls2017", "data.frame_shape": None, "prepare.label": None, "prepare.classes": []},
        **{"prepare.regression": ["xtcav.delay"], "prepare.features": FEATURES, "prepare.images": []},
        **{
            "prepare.balance.ratio": None,
            "prepare.dark_run": None,
            "train.epochs": 10,
            "train.model.name": "perceptron",
            "train.model.blocks": [],
        },
        **{"train.optimizer.learning_rate": 0.02, "train.model.initializer": "he", "tune.space": RATES},
    )
    project.said = project.run("dvc", "repro").stdout
    return project


RATES = {"train.optimizer.learning_rate": {"low": 0.003, "high": 0.1, "log": True}}


def test_every_stage_runs_and_the_run_is_logged(project):
    assert "5 features, no frames" in project.said
    found = project.json("results/evaluation.json")["regression"]["xtcav.delay"]
    assert found["rms_error"] < 0.7 * found["spread"]
    (run,) = project.runs("tags.stage = 'train'")
    assert run.data.metrics["regression.xtcav.delay.rms_error"] == pytest.approx(found["rms_error"])
    assert "didn't change" in project.run("dvc", "repro").stdout


def test_what_a_person_runs_works_or_says_what_it_needs(project):
    assert "1,200 shots in 1 files" in project.run("xtcav", "scan").stdout
    assert "perceptron on 5 features" in project.run("xtcav", "describe").stdout
    project.run("xtcav", "report", "--summary")
    assert "xtcav.delay" in (project.folder / "results/report.html").read_text()
    project.run("xtcav", "predict", "models/model.keras", "data/raw/lcls2017")
    with h5py.File(project.folder / "results/predictions/lcls2017-r070.predictions.h5") as file:
        assert np.isfinite(file["predicted.xtcav.delay"][:]).sum() == 1200
    refused = project.run("xtcav", "show", check=False)
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("xtcav: ")]
    assert "no frames to show" in line


def test_the_experiment_trains_each_seed_and_stands_beside_polynomials(project):
    path = project.folder / "experiments/delay-run70.yaml"
    text = path.read_text()
    features = text[text.index("  features:") : text.index("  include:")]
    text = text.replace(features, f"  features: {FEATURES}\n".replace("'", ""))
    for old, new in (("block: 7200, gap: 120", "block: 40, gap: 2"), ("batch_size: 256", "batch_size: 16")):
        assert text.count(old) == 1
        text = text.replace(old, new)
    path.write_text(text.replace("epochs: 20", "epochs: 4"))
    project.run("git", "checkout", "-q", "params.yaml")
    project.set(**{"compare.seeds": [1, 2]})
    project.run("xtcav", "experiment", "--check")
    project.run("xtcav", "experiment", "delay-run70", "--data")
    said = project.run("xtcav", "experiment", "delay-run70").stdout
    found = project.json("experiments/results/delay-run70.json")
    assert [one["seed"] for one in found["seeds"]] == [1, 2]
    assert found["quadratic"]["mean"] < found["linear"]["mean"] < found["mean"]["mean"]
    assert f"mean absolute error {found['network']['mean']:.3f} fs" in said
    ignored = project.run("git", "status", "--porcelain", "--untracked-files=all").stdout
    assert "lcls2017" not in ignored
    assert "trained" not in ignored
