import json
import re

import pytest

from tests.lineage.test_recorded import lay, lay_seeds
from tests.report.conftest import CLASSES, lay_results
from xtcav_ml.config.paths import HISTORY
from xtcav_ml.lineage import recorded
from xtcav_ml.report.results import load_results
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import summary
from xtcav_ml.tracking.last_run import LastRun


def test_the_matrix_has_its_classes_in_the_order_of_their_numbers(tmp_path, capsys):
    summary.print_summary(lay_results(tmp_path, right=1.1), None)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [next(name for name in CLASSES if name in row) for row in rows] == list(CLASSES)
    assert [row.split("│")[2 + i].strip() for i, row in enumerate(rows)] == ["40"] * 3


def test_it_names_the_report_once_there_is_one(tmp_path, capsys):
    root = lay_results(tmp_path)
    summary.print_summary(root, None)
    assert "report.html" not in capsys.readouterr().out
    (root / "results/report.html").touch()
    summary.print_summary(root, None)
    assert f"\nReport     {(root / 'results/report.html').as_uri()}\n" in capsys.readouterr().out


def test_the_distance_from_the_largest_class_is_shown(tmp_path, capsys):
    root = lay_results(tmp_path)
    z = json.loads((root / "results/evaluation.json").read_text())["z_score"]
    summary.print_summary(root, None)
    assert f"{z:.1f} standard deviations lower" in " ".join(capsys.readouterr().out.split())


def test_a_sparkline_rises_from_the_lowest_to_the_highest_bar_and_keeps_both_ends():
    assert summary.sparkline([0.2, 0.5, 0.9, 0.2]) == "▁▄█▁"
    assert summary.sparkline([0.5]) == "▁"
    long = summary.sparkline(range(1000))
    assert (len(long), long[0], long[-1]) == (summary.MOST_BARS, "▁", "█")
    assert list(long) == sorted(long)


def test_the_learning_curve_has_its_kept_epoch_and_the_criterion(tmp_path, capsys):
    root = lay_results(tmp_path, epochs=3)
    summary.print_summary(root, None)
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Learning   "))
    assert re.fullmatch(
        r"Learning   [▁-█]{3} mean val_cross_entropy of 5 epochs: 1\.000 to 0\.611, kept epoch 3 of 3", line
    )


def test_the_kept_epoch_is_that_of_the_results_whatever_chose_it(tmp_path, capsys):
    root = lay_results(tmp_path, epochs=3)
    metrics = json.loads((root / "results/evaluation.json").read_text())
    atomic.write_json(root / "results/evaluation.json", metrics | {"best_epoch": 2})
    summary.print_summary(root, None)
    assert ": 1.000 to 0.750, kept epoch 2 of 3\n" in capsys.readouterr().out


def test_a_history_without_scores_is_one_line(tmp_path):
    root = lay_results(tmp_path)
    (root / HISTORY).write_text('{"epoch": 1, "loss": 2}\n')
    with pytest.raises(UserError, match=r"history\.jsonl: .*Fix: remove it"):
        summary.print_summary(root, None)


def run(store="mlruns/mlflow.db"):
    return {"run_id": "a" * 32, "experiment_id": "1", "store": store}


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (None, "none before this one"),
        (
            LastRun("3f2a9c1b" * 4, "lr 0.01", 0.5, {"train.seed": ("1", "2")}),
            "3f2a9c1b (lr 0.01): 50.0%, now +50.0 points; changed: train.seed 1 -> 2; `xtcav compare 3f2a9c1b .` tests "
            "the difference",
        ),
        (LastRun("3f2a9c1b" * 4, "a", 1.0, {}), "3f2a9c1b (a): 100.0%, now +0.0 points; changed: no parameter; "),
        (LastRun("3f2a9c1b" * 4, "a", 1, {f"p{i}": ("-", "1") for i in range(5)}), "p2 - -> 1, 2 more; "),
    ],
)
def test_the_end_has_the_difference_from_the_run_before(tmp_path, capsys, monkeypatch, before, words):
    root = lay_results(tmp_path, right=1.1)
    monkeypatch.setattr(summary, "run_before", lambda *asked: before if asked == (root, "a" * 32, "accuracy") else 1)
    summary.print_summary(root, run())
    assert words in next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Last run"))


@pytest.mark.parametrize(
    ("store", "place"),
    [
        ("mlruns/mlflow.db", "`make ui`, then http://127.0.0.1:5000/#/experiments/1/runs/"),
        ("https://***@team.example/mlflow/", "https://***@team.example/mlflow/#/experiments/1/runs/"),
    ],
)
def test_the_end_has_an_address_of_the_run(tmp_path, capsys, monkeypatch, store, place):
    root = lay_results(tmp_path)
    monkeypatch.setattr(summary, "run_before", lambda *_: None)
    summary.print_summary(root, run(store))
    printed = capsys.readouterr().out
    assert f"{place}{'a' * 32}" in printed
    assert ("Last run" in printed) == store.startswith("mlruns")


def test_on_a_terminal_no_line_but_an_address_is_longer_than_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    root = lay_results(tmp_path, numbers=("ebeam.photon_energy",))
    (root / "results/report.html").touch()
    monkeypatch.setattr(summary, "run_before", lambda *_: LastRun("b" * 32, "lr 0.1", 0.5, {"train.seed": ("1", "2")}))
    summary.print_summary(root, run())
    lines = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    assert [line for line in lines if len(line) > 80 and not re.search("(http|file)://", line)] == []


def lay_group(root, group):
    spread = {"mean": 0.75, "sd": 0.0125, "low": 0.7, "high": 0.8}
    one = {"accuracy": 0.75, "best_val_accuracy": 0.7, "cross_entropy": 0.5, "best_epoch": 2}
    content = {"group": group, "shots": 120, "seeds": {"1": one, "2": one}, "mean": {"accuracy": spread}}
    atomic.write_json(root / "seeds/results/seeds.json", content)


def test_a_group_of_seeds_is_shown_as_long_as_it_is_of_these_settings(tmp_path, monkeypatch, capsys):
    root = lay_results(tmp_path)
    lay_seeds(lay(root))
    monkeypatch.chdir(root)
    mean = (
        "Mean of 2 seeds: accuracy 75.0%, s.d. 1.2 points; 95 % interval of the mean 70.0% to 80.0% (seeds and shots)"
    )
    own = recorded.of_folder(root).group
    for group, test, line in (
        (own, "TEST", f"{mean}."),
        ("other", "TEST", summary.ONE_SEED),
        (own, "an older one", summary.ONE_SEED),
    ):
        lay_group(lay_seeds(root, test=test), group)
        summary.print_summary(root, None)
        assert line in capsys.readouterr().out.splitlines()
        summary.print_group()
        said = capsys.readouterr().out
        assert mean in said
        assert ("not the settings, test set and code of the present results" in said) == (line == summary.ONE_SEED)


def test_the_expected_accuracy_stands_beside_the_plain_one_of_each_seed_and_of_all(tmp_path, monkeypatch, capsys):
    lay_group(tmp_path, "a")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "seeds/results/seeds.json"
    content = json.loads(path.read_text())
    for seed, expected in (("1", 0.81), ("2", 0.72)):
        content["seeds"][seed]["expected_accuracy"] = expected
    atomic.write_json(path, content)
    summary.print_group()
    said = capsys.readouterr().out
    assert "(seeds and shots); 76.5% is expected with labels drawn again" in said
    assert "0.72" in next(line for line in said.splitlines() if line.startswith("│    2"))
    del content["seeds"]["2"]["expected_accuracy"]  # of shots that are not simulated, or a group of before
    atomic.write_json(path, content)
    summary.print_group()
    assert "expected" not in capsys.readouterr().out


@pytest.mark.parametrize("text", ["{}", "<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> other\n"])
def test_a_damaged_group_is_a_warning_beside_the_results_and_an_error_where_it_is_asked_for(
    tmp_path, monkeypatch, capsys, text
):
    root = lay_seeds(lay(lay_results(tmp_path)))
    monkeypatch.chdir(root)
    cure = r"seeds\.json: .* Fix: remove it, then run `make seeds`"
    atomic.write_json(root / "seeds/results/seeds.json", {})
    (root / "seeds/results/seeds.json").write_text(text)
    summary.print_summary(root, None)
    said = capsys.readouterr()
    assert re.fullmatch(f"xtcav: .*{cure}\n", said.err)
    assert summary.ONE_SEED in said.out.splitlines()
    assert load_results(root).seeds is None
    assert re.search(cure, capsys.readouterr().err)
    with pytest.raises(UserError, match=cure):
        summary.print_group()


@pytest.mark.parametrize(
    "second", [{"best_epoch": 2}, {"best_epoch": 2, "regression": {"energy": {"rms_error": None}}}]
)
def test_of_seeds_what_all_have_is_tabulated(tmp_path, monkeypatch, capsys, second):
    first = {"accuracy": 0.75, "best_epoch": 2, "regression": {"energy": {"rms_error": 1.0}}}
    content = {"group": "a", "shots": 120, "seeds": {"1": first, "2": second}, "mean": {}}
    atomic.write_json(tmp_path / "seeds/results/seeds.json", content)
    monkeypatch.chdir(tmp_path)
    summary.print_group()
    said = capsys.readouterr().out
    assert "best epoch" in said
    assert "energy" not in said
