import json
import shutil

import numpy as np
import pytest

from tests.conftest import ROOT
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.notes2016 import experiments, shots, side_by_side
from xtcav_ml.notes2016.training import Steps, outcome
from xtcav_ml.system.errors import UserError


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with params.yaml, all experiments, and the smallest one of them made smaller."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "experiments").mkdir()
    for path in (ROOT / "experiments").glob("*.yaml"):
        shutil.copy(path, tmp_path / "experiments")
    path = tmp_path / "experiments" / "signal-40.yaml"
    text = path.read_text().replace("train: 1280", "train: 64").replace("validation: 500", "validation: 21")
    path.write_text(text.replace("batch_size: 128", "batch_size: 16").replace("epochs: 13", "epochs: 2"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def history(*accuracies):
    return [{"val_accuracy": value, "train_accuracy": value / 2} for value in accuracies]


def test_the_outcome_is_that_of_the_last_step_and_says_when_nothing_was_wrong():
    found = outcome(history(0.5, 1.0, 1.0, 0.75), 10, [20, 20])
    assert (found["accuracy"], found["train_accuracy"]) == (0.75, 0.375)
    assert (found["steps"], found["perfect_step"], found["best_step"]) == (40, 20, 20)
    assert found["accuracy_low"] < 0.6 < 0.75 < 0.85 < found["accuracy_high"]
    assert found["sd_above_guessing"] == pytest.approx(10 / np.sqrt(10))
    assert outcome(history(0.975), 10, [20, 20])["perfect_step"] is None


def test_the_score_of_the_notes_first_scale_up_is_theirs():
    found = outcome(history(0.64), 31, [40, 40])  # they print Z = 2.5 for 64 % of 80
    assert found["sd_above_guessing"] == pytest.approx(2.5, abs=0.05)
    assert outcome(history(1.0), 1, [5, 0])["sd_above_guessing"] is None  # one class: nothing to guess


def test_steps_are_timed_within_epochs(monkeypatch):
    times = iter([0.0, 1.0, 2.5, 100.0, 101.0, 103.0])
    monkeypatch.setattr("xtcav_ml.notes2016.training.time.monotonic", lambda: next(times))
    steps = Steps()
    assert steps.seconds is None
    for epoch in (1, 2):
        for step in (1, 2, 3):
            steps.on_step(step, 3)
        steps.on_epoch(epoch, {}, {"train": 50.0})
    assert steps.seconds == 1.25  # of 1, 1.5, 1 and 2


def test_of_epochs_of_one_step_the_first_does_not_count(monkeypatch):
    steps = Steps()
    for epoch, seconds in ((1, 90.0), (2, 3.0), (3, 5.0)):
        steps.on_step(1, 1)
        steps.on_epoch(epoch, {}, {"train": seconds})
    assert steps.seconds == 4.0


def test_data_are_half_signal_and_do_not_depend_on_the_block(project, monkeypatch):
    shots.write_data("signal-40")
    with PreparedFile(project / "experiments/data/signal-40/train.h5") as train:
        assert (train.shots, train.frame_shape, train.classes) == (64, (40, 40), ("noise", "signal"))
        assert train.labels.tolist() == [0, 1] * 32
        made = train.stored(np.arange(64))
        largest = train.images(np.arange(64)).max(axis=(1, 2))
        assert (largest[1::2] > 5 * largest[::2]).all()
    with PreparedFile(project / "experiments/data/signal-40/validation.h5") as validation:
        assert validation.shots == 21
        assert not set(validation.column("run.index").tolist()) & set(range(64))
    monkeypatch.setattr(shots, "IMAGES_AT_ONCE", 5)
    shots.write_data("signal-40")
    with PreparedFile(project / "experiments/data/signal-40/train.h5") as train:
        np.testing.assert_array_equal(train.stored(np.arange(64)), made)


def test_who_uses_data_of_another_makes_none(project):
    with pytest.raises(UserError, match=r"memory: .*data_of: peaks-1000.*Fix: "):
        shots.write_data("memory")


def test_nothing_is_reported_that_was_not_run(project):
    side_by_side.write_comparison()
    rows = [line for line in side_by_side.COMPARISON.read_text().splitlines() if line.startswith("| **")]
    assert len(rows) == len(experiments.experiment_names()) - 2  # memory and the delays have tables of their own
    for row in rows:
        cells = [cell.strip() for cell in row.split("|")]
        assert cells[3] == cells[5] == cells[7] == cells[9] == side_by_side.NOT_RUN
    assert side_by_side.COMPARISON.read_text().count(side_by_side.NOT_RUN) == 4 * len(rows) + 5 * 15 + 1


def test_time_and_memory_are_those_of_the_result_that_is_shown(project):
    result = outcome(history(0.5, 1.0), 10, [10, 10])
    experiments.result_file("signal-40").parent.mkdir(exist_ok=True)
    experiments.result_file("signal-40").write_text(json.dumps(result))
    side_by_side.write_usage("signal-40", {"max_memory_mb": 1234.0, "max_threads": 3}, 0.25)

    def row():
        side_by_side.write_comparison()
        return next(line for line in side_by_side.COMPARISON.read_text().splitlines() if "**signal-40**" in line)

    assert "100.0% (83.9% to 100.0%) of 20" in row()
    assert "100 % after 20" in row()
    assert "0.25 s" in row()
    assert "1.23 GB" in row()
    experiments.result_file("signal-40").write_text(json.dumps(result | {"accuracy": 0.95}))
    assert "95.0%" in row()
    assert row().count(side_by_side.NOT_MEASURED) == 2
    assert "1.23 GB" not in row()


def test_the_mean_over_seeds_is_that_of_compare_seeds_trained_as_the_result(project):
    seeds = {seed: {"epochs": 2} for seed in (1, 2, 3, 4, 9)} | {4: {"epochs": 3}}  # 9 is not one of compare.seeds

    def stage(train, **shared):
        params = {"../params.yaml": {"train.threads": 2, **shared}, "signal-40.yaml": {"train": train}}
        return {"params": params, "deps": [{"path": "data/signal-40/train.h5", "md5": "a"}]}

    stages = {f"seeds@signal-40-{seed}": stage(train) for seed, train in seeds.items()}
    stages["train@signal-40"] = stage({"epochs": 2}, **{"train.seed": 1})
    result = outcome(history(1.0), 10, [10, 10])
    (project / "experiments/results").mkdir(exist_ok=True)
    for seed in seeds:
        own = result | {"accuracy": seed / 10}
        experiments.result_file("signal-40", seed).write_text(json.dumps(own))
    experiments.result_file("signal-40").write_text(json.dumps(result))

    def row():
        (project / "experiments/dvc.lock").write_text(json.dumps({"stages": stages}))
        side_by_side.write_comparison()
        return next(line for line in side_by_side.COMPARISON.read_text().splitlines() if "**signal-40**" in line)

    assert "; mean of 3 seeds 20.0%, s.d. 10.0 points" in row()
    stages["train@signal-40"] = stage({"epochs": 5})
    assert "mean of" not in row()


def test_the_list_names_every_experiment_and_the_long_ones_last(project, capsys):
    side_by_side.list_experiments()
    said = capsys.readouterr().out
    places = [said.index(name) for name in experiments.experiment_names()]
    assert places == sorted(places)
    side_by_side.announce("peaks-7")
    assert "about 12 hours on two cores, 33 GB of disk" in capsys.readouterr().out
