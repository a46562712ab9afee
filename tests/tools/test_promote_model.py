"""Who becomes the champion, in a store of versions whose runs have tables of predictions; no model is loaded."""

import re
import sys

import numpy as np
import pytest

from tests.conftest import StoredRun, lay_store
from tests.tools.test_compare import SHOTS, TRUTH, hits, write
from tests.tracking.registry.test_versions import PLAIN
from xtcav_ml.cli import main
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import promote_model
from xtcav_ml.tracking.registry import versions


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).touch()
    (tmp_path / "model.keras").write_bytes(b"weights")
    lay_store(tmp_path)
    return tmp_path


def trained(root, *args, dirty="false", end="FINISHED", **kwargs):
    """Return a run with a version, and with predictions as `write` makes them; None for none."""
    run = StoredRun(root, **{"stage": "train", "git.dirty": dirty})
    versions.log_model(run.run_id, root / "model.keras", PLAIN, ["keras==3.15.1"])
    if args:
        run.artifact(write(root / "predictions.csv", *args, **kwargs))
    run.finish(end)
    return run


def promote(run, dry_run=False):
    promote_model.run(run.run_id, dry_run)


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
    assert kept.description == f"Not promoted: {error.value}"
    assert kept.tags["promotion"] == "refused"
    return kept.tags


def test_the_first_champion_needs_no_comparison(root, capsys):
    run = trained(root)
    promote(run)
    assert versions.champion(root).run_id == run.run_id
    kept = version(root, run)
    assert kept.description == "Promoted: the first champion"
    assert (kept.tags["promotion"], kept.tags["promotion.against"]) == ("promoted", "none")
    assert f"version 1 of xtcav (run {run.run_id}) is now the champion" in capsys.readouterr().out.replace("\n", " ")
    promote(run)
    assert "is the champion already" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize(("wrong", "said"), [(20, "is better than"), (38, "no real difference"), (50, "no real diff")])
def test_a_run_that_is_better_or_as_good_is_promoted_with_its_numbers(root, wrong, said):
    first, second = trained(root, hits(40)), trained(root, hits(wrong, offset=30 if wrong == 50 else 0))
    promote(first)
    promote_model.run("candidate", dry_run=False)
    assert versions.champion(root).run_id == second.run_id
    assert versions.find(root, "previous").run_id == first.run_id
    kept = version(root, second)
    assert kept.description.startswith(f"Promoted: not worse than version 1 of xtcav (run {first.run_id}): ")
    assert re.search(
        rf"{said}.* accuracy [+-]\d+\.\d points, 95 % interval .*, p = .*; on 200 test shots$", kept.description
    )
    assert kept.tags["promotion.against"] == f"version 1 of xtcav (run {first.run_id})"
    assert kept.tags["promotion.shots"] == "200"
    assert re.fullmatch(r"accuracy \S+", kept.tags["promotion.p"])


def test_a_worse_run_is_refused_and_the_command_ends_with_1(root, monkeypatch, capsys):
    first, second = trained(root, hits(20)), trained(root, hits(40))
    promote(first)
    tags = refused(
        root, second, f"must not be worse than the champion, got: {first.run_id} is better than .* p = 1.9e-06"
    )
    assert float(tags["promotion.p"].removeprefix("accuracy ")) == pytest.approx(2 / 2**20, rel=1e-2)
    monkeypatch.setattr(sys, "argv", ["xtcav", "promote-model", second.run_id[:12]])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(f"xtcav: run {second.run_id}: must not be worse")


def test_numbers_to_learn_are_compared_by_their_error(root):
    rng = np.random.default_rng(0)
    truth = rng.normal(1000, 20, SHOTS)
    tables = {sd: {"truth": None, "numbers": (truth, truth + rng.normal(0, sd, SHOTS))} for sd in (1, 3)}
    fine, coarse = (trained(root, hits(0), **tables[sd]) for sd in (1, 3))
    promote(coarse)
    promote(fine)
    assert versions.champion(root).run_id == fine.run_id
    refused(root, coarse, "must not be worse than the champion, got: .* mean absolute error of peak")


def test_one_thing_worse_is_enough(root):
    truth = np.linspace(0, 1, SHOTS)
    noise = np.random.default_rng(0).normal(size=SHOTS)
    first = trained(root, hits(40), numbers=(truth, truth + noise))
    second = trained(root, hits(20), numbers=(truth, truth + 3 * noise))
    promote(first)
    refused(root, second, "must not be worse")


def test_what_cannot_be_trusted_or_compared_is_refused(root):
    promote(trained(root, hits(40)))
    relabelled = np.where(np.arange(SHOTS) < 3, 3 - TRUTH, TRUTH)
    few = trained(root, hits(0)[:150])
    assert (
        refused(root, few, "must be tested on 90% of the 200 test shots of the champion, .*, got 150")[
            "promotion.shots"
        ]
        == "150"
    )
    for run, said in (
        (
            trained(root, hits(0), dirty="true"),
            r"must be of a clean commit, got uncommitted changes \(tag git\.dirty\)",
        ),
        (trained(root, hits(0), end="FAILED"), "must be FINISHED, got FAILED"),
        (trained(root), r"must be in sqlite:.* with predictions\.csv"),
        (trained(root, hits(0), first=1000), r"must have test shots \(run, run\.index\) in common, got none"),
        (trained(root, hits(0), truth=relabelled), "column 'actual' must be the same"),
        (trained(root, hits(0), truth=None, numbers=(np.ones(SHOTS), np.ones(SHOTS))), "must have learned the same"),
    ):
        refused(root, run, said)


def test_a_run_that_learned_less_than_the_champion_is_refused(root):
    numbers = (np.ones(SHOTS), np.ones(SHOTS))
    promote(trained(root, hits(0), numbers=numbers))
    refused(root, trained(root, hits(0)), "must have learned what the champion, .*, has, got no peak")


def test_a_tampered_model_is_refused(root):
    run = trained(root, hits(0))
    (file,) = (root / "mlruns/artifacts/models").rglob("model.keras")
    file.chmod(0o644)
    file.write_bytes(b"Weights")
    refused(
        root, run, r"models:/xtcav/1: data/model\.keras must be as it was when the model was logged, got other bytes"
    )


def test_a_dry_run_says_and_changes_nothing(root, capsys):
    run, worse = trained(root, hits(0)), trained(root, hits(40))
    promote(run, dry_run=True)
    assert versions.champion(root) is None
    assert "would be the champion" in capsys.readouterr().out.replace("\n", " ")
    promote(run)
    with pytest.raises(UserError, match="must not be worse"):
        promote(worse, dry_run=True)
    assert version(root, worse).description in (None, "")


def test_a_store_that_fails_is_one_line(root, monkeypatch):
    run = trained(root)

    def refuse(*_):
        raise ConnectionError("no answer")

    monkeypatch.setattr(versions, "describe", refuse)
    with pytest.raises(UserError, match=r"must name a store that answers, got 'sqlite:.*\(no answer\)"):
        promote(run)
    assert versions.champion(root) is None
