"""Who becomes the champion, in a store of versions whose runs have tables of predictions; no model is loaded."""

import csv
import re
import sys

import numpy as np
import pytest

from tests.conftest import StoredRun, lay_store
from tests.tools.test_compare import SHOTS, TRUTH, hits, write
from tests.tracking.registry.test_versions import PLAIN
from xtcav_ml.cli import main
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import promote_model
from xtcav_ml.tracking.registry import versions

pytestmark = pytest.mark.usefixtures("without_drift")


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "params.yaml").write_text("compare: {margin: 0.02}\n")
    (tmp_path / "model.keras").write_bytes(b"weights")
    lay_store(tmp_path)
    return tmp_path


def trained(root, *args, dirty="false", end="FINISHED", **kwargs):
    """Return a run with a version, and with predictions as `write` makes them; None for none."""
    run = StoredRun(root, **{"stage": "train", "git.dirty": dirty})
    versions.log_version(run.run_id, root / "model.keras", PLAIN, ["keras==3.15.1"])
    if args:
        run.artifact(write(root / "predictions.csv", *args, **kwargs))
    run.finish(end)
    return run


def of_group(root, run, key, *seeds):
    """Let a run's settings have a group with these answers of its seeds, which is a run of its own."""
    run.client.set_tag(run.run_id, "group.key", key)
    group = StoredRun(root, **{"stage": "group", "group.key": key})
    tables = [list(csv.DictReader(write(root / "one.csv", right).open(newline=""))) for right in seeds]
    for row, *others in zip(*tables, strict=True):
        row |= {f"seed {seed}: predicted": one["predicted"] for seed, one in enumerate([row, *others])}
        del row["predicted"]
    atomic.write_csv(root / "predictions.csv", tables[0])
    group.artifact(root / "predictions.csv")
    group.finish()


def promote(run, dry_run=False, **margin):
    promote_model.promote_version(run.run_id, dry_run, **margin)


def version(root, run):
    """Return the version of a run as MLflow has it."""
    return run.client.get_model_version("xtcav", versions.find(root, run.run_id).number)


def refused(root, run, said):
    """Assert that a run is refused, with a reason that is kept, and that the champion stays."""
    before = versions.champion(root)
    with pytest.raises(UserError, match=said) as error:
        promote(run)
    assert len(str(error.value).splitlines()) == 1
    assert versions.champion(root) == before
    kept = version(root, run)
    assert kept.description.startswith(f"Not promoted: {error.value}\n\nOf run [")
    assert kept.tags["promotion"] == "refused"
    return kept.tags


def test_the_first_champion_needs_no_comparison(root, capsys):
    run = trained(root)
    promote(run)
    assert versions.champion(root).run_id == run.run_id
    kept = version(root, run)
    assert kept.description.startswith("Promoted: the first champion\n\nOf run [")
    assert (kept.tags["promotion"], kept.tags["promotion.against"]) == ("promoted", "none")
    assert f"version 1 of xtcav (run {run.run_id}) is now the champion" in capsys.readouterr().out.replace("\n", " ")
    promote(run)
    assert "is the champion already" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize(("wrong", "said"), [(20, "is better than that of"), (38, "no significant difference")])
def test_a_run_that_is_better_or_as_good_is_promoted_with_its_numbers(root, wrong, said):
    first, second = trained(root, hits(40)), trained(root, hits(wrong))
    promote(first)
    promote_model.promote_version("candidate", dry_run=False)
    assert versions.champion(root).run_id == second.run_id
    assert versions.find(root, "previous").run_id == first.run_id
    kept = version(root, second)
    assert kept.description.startswith(
        f"Promoted: not worse than version 1 of xtcav (run {first.run_id}) by more than the margin: "
    )
    assert re.search(
        rf"{said}.* accuracy [+-]\d+\.\d points, 95 % interval .*, p = .* \(margin 2 points, power \d+%\); on 200 test "
        r"shots \(intervals allow for any drift[^)]*\)\n\n",
        kept.description,
    )
    assert kept.tags["promotion.against"] == f"version 1 of xtcav (run {first.run_id})"
    assert kept.tags["promotion.shots"] == "200"
    assert re.fullmatch(r"accuracy \S+", kept.tags["promotion.p"])


def test_a_worse_run_is_refused_and_the_command_ends_with_1(root, monkeypatch, capsys):
    first, second = trained(root, hits(20)), trained(root, hits(40))
    promote(first)
    tags = refused(
        root,
        second,
        rf"worse than the champion, version 1 .* \(found the model of {first.run_id} is better .* p = 1.9e-06",
    )
    assert float(tags["promotion.p"].removeprefix("accuracy ")) == pytest.approx(2 / 2**20, rel=1e-2)
    monkeypatch.setattr(sys, "argv", ["xtcav", "promote-model", second.run_id[:12]])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    lines = capsys.readouterr().err.splitlines()  # on a busy machine one may say before that the store takes its time
    assert any(line.startswith(f"xtcav: run {second.run_id}: worse than the champion") for line in lines)


def test_a_loss_that_chance_could_hide_is_refused_and_the_power_of_the_test_is_told(root):
    """40 against 26 of 411 shots: 3.4 points lost, p = 0.11, is no significant loss, and no evidence that there is none."""
    first, second = np.ones((2, 411), bool)
    second[:40] = first[40:66] = False
    truth = np.arange(411) % 4
    champion, loser = (trained(root, right, truth=truth) for right in (first, second))
    promote(champion)
    tags = refused(root, loser, "not shown to be as good as the champion")
    reason = version(root, loser).description
    for part in (
        r"accuracy -3\.4 points, 95 % interval -7\.\d to \+0\.\d, p = 0\.11; .* ends below 2 points; ",
        r"test set is too small to tell: .* would pass with a probability of 1\d% on these 411 test shots",
        r"Fix: test on about \d,\d00 shots \(80% power\), ",
    ):
        assert re.search(part, reason), reason
    assert tags["promotion.margin"] == "0.02"
    promote(loser, margin=0.08)
    assert versions.champion(root).run_id == loser.run_id
    assert version(root, loser).tags["promotion.margin"] == "0.08"


def test_groups_of_seeds_decide_where_both_settings_have_one(root):
    """The lucky seed of settings that are worse by 6 points is as good as the champion: its settings are not."""
    champion, lucky, bad = trained(root, hits(10)), trained(root, hits(8, 3)), trained(root, hits(40))
    of_group(root, champion, "a", hits(10), hits(11, 40), hits(9, 90), hits(10, 60))
    of_group(root, lucky, "b", hits(8, 3), hits(28, 100), hits(26, 50), hits(27, 20))
    of_group(root, bad, "c", hits(40), hits(4, 100), hits(5, 60), hits(0))
    promote(champion)
    tags = refused(root, lucky, r"not shown to be as good as .*between the settings of .* too small to tell: ")
    assert tags["promotion.level"] == "settings"
    assert re.fullmatch(r"accuracy 0\.\d\d", tags["promotion.power"])
    with pytest.raises(UserError, match=r"worse than the champion, .*the model of .* Fix: promote another seed"):
        promote(bad, margin=0.5)
    promote(lucky, margin=0.3)
    assert versions.champion(root).run_id == lucky.run_id
    reason = version(root, lucky).description
    assert "those of" in reason
    assert re.search(
        r"shown of the settings; the model alone is not .*: no significant difference between the model", reason
    )


@pytest.mark.thorough
def test_a_margin_of_numbers_is_a_fraction_of_their_standard_deviation(root):
    rng = np.random.default_rng(0)
    truth = rng.normal(1000, 20, SHOTS)
    error = np.abs(rng.normal(0, 1, SHOTS))
    first, second = (trained(root, hits(0), truth=None, numbers=(truth, truth + one)) for one in (error, error + 0.3))
    promote(first)
    promote(second)  # 0.3 is less than 2 % of 20
    assert versions.champion(root).run_id == second.run_id
    third = trained(root, hits(0), truth=None, numbers=(truth, truth + error + 0.8))
    refused(root, third, r"worse than the champion, .* mean absolute error of peak .* ends below 0\.384; ")


@pytest.mark.thorough
def test_a_tiny_test_set_shows_nothing_even_of_a_model_that_answers_alike(root):
    truth = np.arange(20.0)
    tables = ({"truth": np.arange(20) % 4}, {"truth": None, "numbers": (truth, truth + 1)})
    for table in tables:
        first, second = (trained(root, np.ones(20, bool), **table) for _ in range(2))
        if versions.champion(root) is not None:
            versions.crown(root, versions.find(root, first.run_id), versions.champion(root))
        else:
            promote(first)
        refused(root, second, "test set is too small to tell: .* on these 20 test shots")


@pytest.mark.thorough
def test_numbers_to_learn_are_compared_by_their_error(root):
    rng = np.random.default_rng(0)
    truth = rng.normal(1000, 20, SHOTS)
    tables = {sd: {"truth": None, "numbers": (truth, truth + rng.normal(0, sd, SHOTS))} for sd in (1, 3)}
    fine, coarse = (trained(root, hits(0), **tables[sd]) for sd in (1, 3))
    promote(coarse)
    promote(fine)
    assert versions.champion(root).run_id == fine.run_id
    refused(root, coarse, "worse than the champion, .* mean absolute error of peak")


def test_one_thing_worse_is_enough(root):
    truth = np.linspace(0, 1, SHOTS)
    noise = np.random.default_rng(0).normal(size=SHOTS)
    first = trained(root, hits(40), numbers=(truth, truth + noise))
    second = trained(root, hits(20), numbers=(truth, truth + 3 * noise))
    promote(first)
    refused(root, second, "worse than the champion")


def test_what_cannot_be_trusted_or_compared_is_refused(root):
    promote(trained(root, hits(40)))
    relabelled = np.where(np.arange(SHOTS) < 3, 3 - TRUTH, TRUTH)
    few = trained(root, hits(0)[:150])
    assert (
        refused(root, few, r"too few test shots in common .* \(found 150 of its 200, expected 90%\)")["promotion.shots"]
        == "150"
    )
    for run, said in (
        (
            trained(root, hits(0), dirty="true"),
            r"not of a clean commit \(found tag git\.dirty, expected",
        ),
        (trained(root, hits(0), end="FAILED"), r"not complete \(found FAILED, expected FINISHED\)"),
        (trained(root), r"predictions\.csv: not in sqlite:"),
        (trained(root, hits(0), first=1000), "no test shot in common"),
        (trained(root, hits(0), truth=relabelled), "column 'actual' is not that of"),
        (trained(root, hits(0), truth=None, numbers=(np.ones(SHOTS), np.ones(SHOTS))), "nothing to compare"),
    ):
        refused(root, run, said)


def test_a_run_that_learned_less_than_the_champion_is_refused(root):
    numbers = (np.ones(SHOTS), np.ones(SHOTS))
    promote(trained(root, hits(0), numbers=numbers))
    refused(root, trained(root, hits(0)), "found classes, expected classes, peak")


def test_a_tampered_model_is_refused(root):
    run = trained(root, hits(0))
    (file,) = (root / "mlruns/artifacts/models").rglob("model.keras")
    file.chmod(0o644)
    file.write_bytes(b"Weights")
    refused(root, run, r"models:/xtcav/1: data/model\.keras is not as it was logged .found other bytes")


def test_a_dry_run_says_and_changes_nothing(root, capsys):
    run, worse = trained(root, hits(0)), trained(root, hits(40))
    promote(run, dry_run=True)
    assert versions.champion(root) is None
    assert "would be the champion" in capsys.readouterr().out.replace("\n", " ")
    promote(run)
    with pytest.raises(UserError, match="worse than the champion"):
        promote(worse, dry_run=True)
    assert version(root, worse).description.startswith("Of run [")


def test_a_store_that_fails_is_one_line(root, monkeypatch):
    run = trained(root)

    def refuse(*_):
        raise ConnectionError("no answer")

    monkeypatch.setattr(versions, "annotate", refuse)
    with pytest.raises(UserError, match=r"MLFLOW_TRACKING_URI: no answer .*'no answer'.*sqlite:"):
        promote(run)
    assert versions.champion(root) is None
