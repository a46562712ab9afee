"""An experiment on real shots, on made-up ones: what is held out, what stands beside the networks, what is refused."""

import numpy as np
import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT
from tests.lcls2017_files import FEATURES, write_arrays
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.notes2016 import delay, experiments, shots, side_by_side, validation
from xtcav_ml.pipeline import train
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import import_data

NAME, SEEDS = "delay-run70", (1, 2)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the experiment, made small."""
    (tmp_path / "experiments").mkdir()
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("seeds: [1, 2, 3, 4, 5]", "seeds: [1, 2]"))
    tree = YAML(typ="safe").load((ROOT / f"experiments/{NAME}.yaml").read_text())
    tree["prepare"] |= {"features": FEATURES, "split": tree["prepare"]["split"] | {"block": 40, "gap": 2}}
    tree["train"] |= {"epochs": 6, "batch_size": 16}
    tree["train"]["optimizer"]["warmup_steps"] = 1
    with (tmp_path / f"experiments/{NAME}.yaml").open("w") as file:
        YAML(typ="safe").dump(tree, file)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.thorough
def test_networks_and_fits_are_measured_on_the_same_held_out_shots(project, capsys):
    write_arrays(project / "arrays", shots=1200)
    import_data.import_folder("lcls2017", project / "arrays", project / "data/raw/lcls2017")
    validation.check_experiments()
    shots.write_data(NAME)
    for seed in SEEDS:
        params, out = (
            experiments.train_params(NAME).model_copy(update={"seed": seed}),
            experiments.trained_folder(NAME, seed),
        )
        data = experiments.data_files(NAME, seed)[0].parent
        train.train_network(params, data, out / "model.keras", out / "history.jsonl")
    delay.measure(NAME, SEEDS)
    found = side_by_side._read(experiments.result_file(NAME))
    for seed, one in zip(SEEDS, found["seeds"], strict=True):
        folder = experiments.data_folder(NAME, seed)
        with PreparedFile(folder / "train.h5") as learned, PreparedFile(folder / "test.h5") as test:
            blocks = [set((file.column("run.index") // 40).tolist()) for file in (learned, test)]
            assert not blocks[0] & blocks[1]
            assert one["blocks"] == sorted(blocks[1])
            away = np.abs(test.targets[:, 0] - learned.targets[:, 0].mean())
            assert one["mean_absolute_error"]["mean"] == pytest.approx(away.mean(), rel=1e-5)
            assert (one["test_shots"], one["train_shots"]) == (test.shots, learned.shots)
    assert not set(found["seeds"][0]["blocks"]) & set(found["seeds"][1]["blocks"])
    assert found["quadratic"]["mean"] < 0.5 < 1 < found["linear"]["mean"] < found["mean"]["mean"]
    assert found["network"]["mean"] < 0.6 * found["mean"]["mean"]
    errors = [one["mean_absolute_error"]["network"] for one in found["seeds"]]
    assert found["network"]["mean"] == pytest.approx(np.mean(errors))
    half = 12.706 * np.std(errors, ddof=1) / np.sqrt(2)  # Student's t of one degree of freedom
    assert found["network"]["high"] - found["network"]["mean"] == pytest.approx(half, rel=1e-3)
    side_by_side.write_comparison()
    table = (project / "experiments/results/notes.md").read_text()
    assert f"| network | {found['network']['mean']:.3f} |" in table
    assert f"| quadratic | {found['quadratic']['mean']:.3f} |" in table
    side_by_side.list_experiments()
    assert NAME in capsys.readouterr().out


def test_without_the_files_the_cure_is_named(project):
    with pytest.raises(UserError, match=r"data/raw/lcls2017: missing .*Fix: run `xtcav import lcls2017 FOLDER`"):
        shots.write_data(NAME)
    side_by_side.write_comparison()
    assert "not run" in (project / "experiments/results/notes.md").read_text()


def test_the_shipped_one_learns_from_no_delay_and_holds_whole_minutes_out(monkeypatch):
    monkeypatch.chdir(ROOT)
    _, prepare = experiments.shot_params(NAME)
    assert prepare.regression == ("xtcav.delay",)
    assert "xtcav.delay" not in prepare.features
    assert (prepare.split.by, prepare.split.block) == ("block", 60 * 120)
