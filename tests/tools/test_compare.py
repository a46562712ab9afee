import csv
import json
import re
import subprocess

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.lineage.test_recorded import lay
from xtcav_ml.cli import main
from xtcav_ml.lineage import recorded
from xtcav_ml.lineage.environment import CLASS
from xtcav_ml.science import metrics, significance
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import compare
from xtcav_ml.tracking.tracker import Tracker

pytestmark = pytest.mark.usefixtures("without_drift")

SHOTS = 200
TRUTH = np.arange(SHOTS) % 4


def write(path, right, *, first=0, numbers=None, truth=TRUTH, event_key=True):
    """Write predictions as evaluate does: `right` of the shots are, from shot `first` on; `numbers` are (truth, predicted).

    The shots are of two experiments with the same run number; without an `event_key` (older tables) of one.
    """
    index = np.arange(first, first + len(right))
    columns = {"evt.seconds": index // 150, "evt.nanoseconds": 0 * index, "evt.fiducials": 3 * (index % 150)}
    columns |= {"run": 0 * index + 70, "run.index": index % 150}
    if not event_key:
        columns = {"run": columns["run"], "run.index": index}
    if truth is not None:
        truth = truth[: len(right)]
        columns |= {"actual": [f"t{i}" for i in truth]}
        columns |= {"predicted": [f"t{i if hit else (i + 1) % 4}" for i, hit in zip(truth, right, strict=True)]}
    if numbers:
        columns |= {"actual peak": [f"{v:.6g}" for v in numbers[0]], "predicted peak": [f"{v:.6g}" for v in numbers[1]]}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def hits(wrong, offset=0):
    """Return SHOTS answers of which `wrong` are wrong, from `offset` on."""
    found = np.ones(SHOTS, bool)
    found[offset : offset + wrong] = False
    return found


def git(folder, *arguments):
    identity = ("-c", "user.name=x", "-c", "user.email=x@x")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project, a folder of a repository, of two commits: right on 150 shots, then on 190; the workspace as the second."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("dvc.yaml", "params.yaml"):
        (folder / name).touch()
    git(tmp_path, "init", "--quiet")
    for wrong in (50, 10):
        write(folder / "results/predictions.csv", hits(wrong))
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", "x")
    return folder


def run(*names):
    return compare.compare_runs(names, as_json=False)


def test_the_command_compares_two_commits(project):
    done = CliRunner().invoke(main.application(["compare"]), ["compare", "HEAD~1", "HEAD"])
    assert "intervals allow for any drift from shot to shot" in " ".join(done.output.split())
    assert done.exit_code == 0, done.output
    for part in (
        "200 test shots in common",
        "75.0%",
        "95.0%",
        "68.6% to 80.5%",  # Wilson
        "right predictions, compared with HEAD~1",
        "no dvc.lock with HEAD~1, HEAD",
    ):
        assert part in done.output, done.output
    last = done.output.splitlines()[-1]  # the interval is of random numbers: of 40 of 200 shots, give or take 11
    expected = (
        r"the model of HEAD is better than that of HEAD~1: accuracy \+20\.0 points, 95 % interval \+14\.\d to \+2[56]\.\d, "
        r"p = 1\.8e-12; a difference of \d\.\d points would be found with 80% power"
    )
    assert re.fullmatch(expected, last), last


def test_json_holds_every_number(project):
    done = CliRunner().invoke(main.application(["compare"]), ["compare", "HEAD", "HEAD~1", "--json"])
    found = json.loads(done.output)
    assert found["shots"] == SHOTS
    assert [row["accuracy"] for row in found["runs"]] == [0.95, 0.75]
    assert (found["runs"][0]["accuracy_low"], found["runs"][0]["accuracy_high"]) == metrics.wilson_interval(190, 200)
    (one,) = found["comparisons"]
    assert one["right"] == {"both": 150, "only_first": 40, "only_run": 0, "neither": 10}
    assert one["p"] == one["p_holm"] == significance.mcnemar(40, 0)
    assert one["low"] < one["difference"] < one["high"] < 0
    assert one["difference"] == pytest.approx(-0.2)
    assert one["verdict"].startswith(
        "the model of HEAD is better than that of HEAD~1: accuracy +20.0 points, 95 % interval +14"
    )


def test_a_run_is_a_file_a_folder_a_workspace_or_a_revision(project, tmp_path):
    other = write(tmp_path / "other/predictions.csv", hits(10))
    nested = write(tmp_path / "clone/results/predictions.csv", hits(10))
    for name in ("HEAD", ".", "results", str(other), str(other.parent), str(nested.parent.parent)):
        assert run("HEAD~1", name)["comparisons"][0]["difference"] == pytest.approx(0.2), name


def test_a_revision_is_read_from_the_project_s_own_folder(project, monkeypatch):
    (project / "docs").mkdir()
    monkeypatch.chdir(project / "docs")
    assert run("HEAD~1", "HEAD")["shots"] == SHOTS


def test_an_mlflow_run_s_predictions_are_fetched(project):
    with Tracker(project) as tracker:
        with_table, without = tracker.start("a", {}), tracker.start("b", {})
        with_table.artifact(project / "results/predictions.csv")
        for one in (with_table, without):
            one.finish()
    assert run("HEAD~1", with_table.journal.run_id)["comparisons"][0]["difference"] == pytest.approx(0.2)
    for name in ("a", with_table.journal.run_id[:12]):
        assert run("HEAD~1", name)["comparisons"][0]["difference"] == pytest.approx(0.2)
    run_id = without.journal.run_id
    with pytest.raises(UserError, match=rf"^run {run_id}, predictions\.csv: not in sqlite:[^\n]*$"):
        run("HEAD", run_id)


def test_what_chance_could_do_is_no_real_difference(tmp_path):
    first = write(tmp_path / "a.csv", hits(20))
    second = write(tmp_path / "b.csv", hits(16, offset=10))
    (one,) = run(str(first), str(second))["comparisons"]
    assert one["right"] == {"both": 174, "only_first": 6, "only_run": 10, "neither": 10}
    assert one["p"] == significance.mcnemar(6, 10)
    assert one["verdict"].startswith(
        f"no significant difference between the model of {first} and that of {second}: accuracy +2.0 points"
    )


def test_only_common_shots_count_whatever_their_order(tmp_path):
    first = write(tmp_path / "a.csv", hits(100))
    second = write(tmp_path / "b.csv", hits(0)[:120], first=80, truth=np.roll(TRUTH, -80))
    lines = second.read_text().splitlines()
    second.write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    found = run(str(first), str(second))
    assert found["shots"] == 120
    assert [row["shots"] for row in found["runs"]] == [200, 120]
    assert [row["accuracy"] for row in found["runs"]] == [100 / 120, 1]


def test_shots_of_two_experiments_with_the_same_run_numbers_are_different_shots(tmp_path):
    paths = [write(tmp_path / name, hits(wrong)) for name, wrong in (("a.csv", 20), ("b.csv", 0))]
    with paths[0].open(newline="") as file:
        shots = [(row["run"], row["run.index"]) for row in csv.DictReader(file)]
    assert len(set(shots)) < len(shots)
    found = run(*map(str, paths))
    assert found["shots"] == SHOTS
    assert found["comparisons"][0]["right"] == {"both": 180, "only_first": 0, "only_run": 20, "neither": 0}


def test_a_table_without_event_keys_is_matched_by_run_and_index_if_that_is_unique(tmp_path):
    old = str(write(tmp_path / "old.csv", hits(0)[:150], event_key=False))
    new = str(write(tmp_path / "new.csv", hits(20)[:150]))
    found = run(old, new)
    assert (found["shots"], found["comparisons"][0]["right"]["only_first"]) == (150, 20)
    both = str(write(tmp_path / "both.csv", hits(20)))
    with pytest.raises(UserError, match=r"both\.csv: shot run, run\.index = 70, 0 is repeated .* Fix: ") as error:
        run(old, both)
    assert len(str(error.value).splitlines()) == 1


def test_a_shot_that_is_there_twice_is_refused(tmp_path):
    good = write(tmp_path / "good.csv", hits(0))
    lines = good.read_text().splitlines()
    (tmp_path / "bad.csv").write_text("\n".join([*lines, lines[1]]))
    with pytest.raises(UserError, match=r"bad\.csv: shot evt\.seconds, .* = 0, 0, 0 is repeated"):
        run(str(good), str(tmp_path / "bad.csv"))


def test_numbers_are_compared_by_their_absolute_error(tmp_path):
    rng = np.random.default_rng(0)
    truth = np.where(np.arange(SHOTS) < 20, np.nan, rng.normal(1000, 20, SHOTS))
    guesses = [truth + rng.normal(0, sd, SHOTS) for sd in (3, 1)]
    paths = [
        write(tmp_path / name, hits(0), truth=None, numbers=(truth, np.where(np.isnan(guess), 7, guess)))
        for name, guess in zip(("a.csv", "b.csv"), guesses, strict=True)
    ]
    found = run(*map(str, paths))
    (one,) = found["comparisons"]
    assert "right" not in one
    assert one["measure"] == "mean absolute error of peak"
    errors = [np.nanmean(np.abs(guess - truth)) for guess in guesses]
    assert [row["mean_absolute_error"]["peak"] for row in found["runs"]] == pytest.approx(errors, rel=1e-2)
    assert one["difference"] == pytest.approx(errors[1] - errors[0], rel=1e-2)
    assert one["verdict"].startswith(
        f"the model of {paths[1]} is better than that of {paths[0]}: mean absolute error of peak -1."
    )
    (back,) = run(*map(str, paths[::-1]))["comparisons"]
    assert back["difference"] == -one["difference"]
    assert back["verdict"].startswith(
        f"the model of {paths[1]} is better than that of {paths[0]}: mean absolute error of peak -1."
    )


def test_classes_and_numbers_together_and_numbers_that_no_shot_has(tmp_path, capsys):
    truth = np.linspace(0, 1, SHOTS)
    paths = [str(write(tmp_path / name, hits(5), numbers=(truth, truth + 1))) for name in ("a.csv", "b.csv")]
    assert [one["measure"] for one in run(*paths)["comparisons"]] == ["accuracy", "mean absolute error of peak"]
    assert "mean absolute error of peak" in capsys.readouterr().out
    absent = np.full(SHOTS, np.nan)
    paths = [str(write(tmp_path / name, hits(5), numbers=(absent, truth))) for name in ("a.csv", "b.csv")]
    assert [one["measure"] for one in run(*paths)["comparisons"]] == ["accuracy"]


def test_several_runs_are_each_compared_with_the_first_and_pay_for_it(tmp_path):
    names = [str(write(tmp_path / f"{wrong}.csv", hits(wrong))) for wrong in (20, 14, 20)]
    pair, several = run(*names[:2]), run(*names)
    assert pair["comparisons"][0]["verdict"].startswith(f"the model of {names[1]} is better")
    first, second = several["comparisons"]
    assert (first["first"], first["run"], second["run"]) == (names[0], names[1], names[2])
    assert first["p"] == pair["comparisons"][0]["p"] == significance.mcnemar(0, 6)
    assert (first["p_holm"], second["p_holm"]) == (2 * first["p"], 1)
    assert first["verdict"].startswith("no significant difference")
    assert "corrected for 2 comparisons" in first["verdict"]


def test_it_says_in_which_parameters_data_and_code_the_runs_differ(project, tmp_path, capsys):
    for epochs in (3, 5):
        lay(project, epochs=epochs)
        git(project, "add", "--all")
        git(project, "commit", "--quiet", "--message", "x")
    with Tracker(project) as tracker:
        of_run = tracker.start("a", {})
        of_run.artifact(project / "results/predictions.csv")
        lay(project, epochs=7)
        code = json.loads((project / "code/train.json").read_text())
        code["modules"]["learning.fit"], new = "0", "f" * 32
        (tmp_path / "train.json").write_text(json.dumps({**code, "fingerprint": new}))
        (tmp_path / "dvc.lock").write_text((project / "dvc.lock").read_text().replace(code["fingerprint"], new))
        of_run.artifact(tmp_path / "train.json", "lineage/code")
        of_run.artifact(tmp_path / "dvc.lock", "lineage")
        of_run.finish()
    found = run("HEAD~1", "HEAD", of_run.journal.run_id)
    assert found["parameters"] == {"train.epochs": {"HEAD~1": "3", "HEAD": "5", of_run.journal.run_id: "7"}}
    assert found["code"] == ["learning.fit"]
    assert found["unknown"] == []
    said = capsys.readouterr().out
    assert "parameters that differ" in said
    assert "code that differs: learning.fit" in said
    assert of_run.journal.run_id[:8] in said


def test_it_names_the_class_of_processor_of_each_run_that_has_one(project, tmp_path, capsys):
    lay(project)
    with Tracker(project) as tracker:
        of_key, rebuilt = (
            tracker.start("a", {"lineage.key": recorded.of_folder(project).key}),
            tracker.start("b", {"rebuilt": "true"}),
        )
        for run_of, processor in ((of_key, "AVX2"), (rebuilt, "AVX-512")):
            (tmp_path / "environment.json").write_text(json.dumps({CLASS: processor}))
            run_of.artifact(tmp_path / "environment.json", "lineage")
            run_of.artifact(project / "results/predictions.csv")
            run_of.finish()
    first, second = of_key.journal.run_id, rebuilt.journal.run_id
    found = run(first, second, ".", "HEAD~1")
    assert found["processors"] == {first: "AVX2", second: None, ".": "AVX2", "HEAD~1": None}
    said = " ".join(capsys.readouterr().out.split())
    assert f"class of processor: AVX2 ({first[:8]}, .); not recorded ({second[:8]}, HEAD~1)" in said
    run("HEAD", "HEAD~1")
    assert "class of processor" not in capsys.readouterr().out


def test_runs_of_the_same_training_differ_in_nothing(project, capsys):
    lay(project)
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "x")
    found = run("HEAD", ".")
    assert (found["parameters"], found["data"], found["code"]) == ({}, [], [])
    said = capsys.readouterr().out
    for kind in ("parameters that differ", "data that differ", "code that differs"):
        assert f"{kind}: none" in said


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "no shots"),
        ("run,run.index,actual\n", "no shots"),
        ("run,actual,predicted\n1,a,a\n", "no column 'run.index'"),
        ("run,run.index,actual,predicted\n1,1,a\n", "a broken line 2"),
        ("run,run.index,actual,predicted\n1,1,a,a\n1,2,a,a,a\n", "a broken line 3"),
        ("\ufffd\x00PK", "no shots"),
    ],
)
def test_a_table_of_another_kind_is_one_line(tmp_path, content, fault):
    good = write(tmp_path / "good.csv", hits(0))
    (tmp_path / "bad.csv").write_text(content)
    with pytest.raises(UserError, match=rf"bad\.csv: not a table of predictions \(found {fault}, .* Fix: ") as error:
        run(str(good), str(tmp_path / "bad.csv"))
    assert len(str(error.value).splitlines()) == 1


def test_settings_are_shown_with_their_seeds_and_the_spread_of_each_quantity():
    both = {"run": "x", "shots": 9, "seeds": 3, "accuracy": 0.8, "accuracy_low": 0.7, "accuracy_high": 0.9}
    both |= {"accuracy_sd": 0.0123, "mean_absolute_error": {"peak": 1.5}, "mean_absolute_error_sd": {"peak": 0.25}}
    table = compare._scores([both], 9)
    cells = {column.header: [*column.cells] for column in table.columns}
    assert (cells["seeds"], cells["s.d. of seeds"]) == (["3"], ["1.2%"])
    assert cells["mean absolute error of peak, s.d. of seeds"] == ["1.5, 0.25"]
    numbers = {name: value for name, value in both.items() if not name.startswith("accuracy")}
    assert [column.header for column in compare._scores([numbers], 9).columns][2] == "seeds"


def test_what_cannot_be_compared_is_one_line(project, tmp_path):
    good = str(write(tmp_path / "good.csv", hits(0)))
    far = str(write(tmp_path / "far.csv", hits(0), first=1000))
    relabelled = str(
        write(tmp_path / "relabelled.csv", hits(0), truth=np.where(np.arange(SHOTS) < 3, 3 - TRUTH, TRUTH))
    )
    numbers = str(write(tmp_path / "numbers.csv", hits(0), truth=None, numbers=(np.ones(SHOTS), np.ones(SHOTS))))
    twice = str(write(tmp_path / "twice.csv", hits(0), truth=None, numbers=(2 * np.ones(SHOTS), np.ones(SHOTS))))
    text = str(tmp_path / "text.csv")
    (project / "src").mkdir()
    (tmp_path / "text.csv").write_text(
        "evt.seconds,evt.nanoseconds,evt.fiducials,run,run.index,actual peak,predicted peak\n0,0,0,70,0,1,high\n"
    )
    for names, message in (
        ([good], r"RUN: too few \(found '.*good\.csv'"),
        (
            [good, far],
            r"good\.csv, .*far\.csv: no test shot in common \(found 0 with equal evt\.seconds, evt\.nanoseconds, evt\.",
        ),
        (
            [good, relabelled],
            r"relabelled\.csv: column 'actual' is not that of .*good\.csv \(found 3 of 200 common",
        ),
        ([good, numbers], r"nothing to compare \(found \['classes'\] and \['peak'\]"),
        ([numbers, twice], r"twice\.csv: column 'actual peak' is not that of .*numbers\.csv \(found 200 of 200"),
        ([numbers, text], r"text\.csv: column 'predicted peak' is damaged \(found .*high"),
        ([good, "no-such-branch"], r"no-such-branch: not one run in .*a git revision"),
        ([good, "--format=%H"], r"--format=%H: not one run "),
        ([good, str(project / "src")], r"src: not one run "),
    ):
        with pytest.raises(UserError, match=message) as error:
            compare.compare_runs(names, as_json=False)
        assert len(str(error.value).splitlines()) == 1
