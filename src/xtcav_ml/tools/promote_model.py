"""promote-model: a version of the registered model becomes the champion if its test shows that it is not worse."""

from collections.abc import Mapping
from dataclasses import replace
from math import inf, isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from xtcav_ml.config.compare import load_compare
from xtcav_ml.config.paths import PARAMS_FILE
from xtcav_ml.lineage import project
from xtcav_ml.science.significance import Difference, NonInferiority, non_inferiority, unseen
from xtcav_ml.science.thresholds import COMMON_SHOTS, POWER
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console
from xtcav_ml.tools import compare
from xtcav_ml.tracking import mlflow_store
from xtcav_ml.tracking.registry import versions
from xtcav_ml.tracking.registry.versions import Version


def promote_version(name: str, dry_run: bool, margin: float | None = None) -> None:
    """Make a version the champion, that of `name`: an alias, or a run id or its beginning.

    `margin` is the tolerated loss, a fraction of the distance from worthless to perfect; None is that of params.yaml. Raises
    UserError with the reason if it is refused. Either way MLflow keeps the reason with the version, unless `dry_run`.
    """
    root = project.find_root()
    limit = load_compare(root / PARAMS_FILE).margin if margin is None else margin
    with mlflow_store.answering(root):
        version, champion = versions.find(root, name), versions.champion(root)
        if champion is not None and champion.number == version.number:
            console().print(f"{version} is the champion already")
            return
        tags = {"promotion.against": "none" if champion is None else str(champion)}
        try:
            _require_sound(root, version)
            reason = "the first champion" if champion is None else _require_not_worse(champion, version, limit, tags)
        except UserError as error:
            if not dry_run:
                versions.annotate(version, f"Not promoted: {error}", {"promotion": "refused", **tags})
            raise
        if not dry_run:  # the reason first: a promotion that is cut short is then repeated
            versions.annotate(version, f"Promoted: {reason}", {"promotion": "promoted", **tags})
            versions.crown(root, version, champion)
    console().print(f"{version} {'would be' if dry_run else 'is now'} the champion: {reason}")


def _require_sound(root: Path, version: Version) -> None:
    """Raise UserError if the run is not complete or not of a clean commit, or if the model's files were changed."""
    if version.status != "FINISHED":
        raise UserError(
            f"run {version.run_id}: not complete (found {version.status}, expected FINISHED). Fix: wait for its end, or "
            "promote another"
        )
    if version.dirty:
        raise UserError(
            f"run {version.run_id}: not of a clean commit (found tag git.dirty, expected no uncommitted changes). Fix: commit, "
            "train again with `dvc repro --force --single-item train evaluate`, and promote that run"
        )
    with TemporaryDirectory() as folder:
        versions.fetch(root, version.uri, Path(folder))


def _require_not_worse(champion: Version, version: Version, margin: float, tags: dict[str, str]) -> str:
    """Return the reason why the version is not worse, and add the test's numbers to `tags`.

    Raises UserError if, in anything that the champion learned, its loss is not shown to be below the margin.
    """
    names = [champion.run_id, version.run_id]
    result = compare.compare_runs(names, as_json=False)
    (first, second), compared, common = result["runs"], result["comparisons"], result["shots"]
    tags["promotion.shots"] = str(common)
    tags["promotion.margin"] = f"{margin:g}"
    tags["promotion.p"] = ", ".join(f"{one['measure']} {one['p']:.3g}" for one in compared)
    if common < COMMON_SHOTS * first["shots"]:
        raise UserError(
            f"run {version.run_id}: too few test shots in common with the champion, {champion} (found {common:,} of its "
            f"{first['shots']:,}, expected {COMMON_SHOTS:.0%}). Fix: evaluate it on the same data and split"
        )
    lacking = [name for name in first["learned"] if name not in second["learned"]]
    if lacking:
        raise UserError(
            f"run {version.run_id}: learned less than the champion, {champion} (found {', '.join(second['learned'])}, expected "
            f"{', '.join(first['learned'])}). Fix: train it with the same prepare.label and prepare.regression"
        )
    tags["promotion.level"] = result["level"]
    tests = [_test(one, margin, common) for one in compared]
    tags["promotion.power"] = ", ".join(
        f"{one['measure']} {test.power:.2f}" for one, test in zip(compared, tests, strict=True)
    )
    for one, test in zip(compared, tests, strict=True):
        if not test.shown:
            raise UserError(_refusal(champion, version, one, _limit(one, margin), common, test))
    alone = _require_good_seed(champion, version) if result["level"] == "settings" else ""
    verdicts = "; ".join(
        f"{one['verdict']} (margin {_limit(one, margin)}, power {test.power:.0%})"
        for one, test in zip(compared, tests, strict=True)
    )
    on = f"on {common:,} test shots ({compare.alike(result)})"
    return f"not worse than {champion} by more than the margin: {verdicts}; {on}{alone}"


def _require_good_seed(champion: Version, version: Version) -> str:
    """Return what is known of the model itself, of whose settings alone the margin is shown.

    Raises UserError if it is significantly worse: its settings may be as good, and this one a bad seed.
    """
    found = compare.compare_models([champion.run_id, version.run_id])
    for one in found:
        if one["better"] == champion.run_id:
            raise UserError(
                f"run {version.run_id}: worse than the champion, {champion} (found {one['verdict']}, expected a model as good "
                "as its settings). Fix: promote another seed"
            )
    verdicts = "; ".join(one["verdict"] for one in found)
    return f". That is shown of the settings; the model alone is not significantly worse, which is less: {verdicts}"


def _test(one: Mapping[str, Any], margin: float, shots: int) -> NonInferiority:
    freedom = inf if one["freedom"] is None else one["freedom"]
    difference = Difference(one["difference"], one["low"], one["high"], one["p"], freedom, one["of_seeds"])
    if not difference.error:  # errors of numbers that are the same on all shots, as a few may be by chance
        half = one["scale"] * unseen(shots)
        difference = replace(difference, low=difference.value - half, high=difference.value + half)
    gain = difference if one["more_is_better"] else -difference  # above 0 if the second is the better one
    return non_inferiority(gain, margin * one["scale"], shots)


def _limit(one: Mapping[str, Any], margin: float) -> str:
    """Return the margin in the unit of a comparison."""
    limit = margin * one["scale"]
    return f"{100 * limit:.3g} points" if one["more_is_better"] else f"{limit:.3g}"


def _refusal(
    champion: Version, version: Version, one: Mapping[str, Any], limit: str, shots: int, test: NonInferiority
) -> str:
    """Return the error: what the comparison shows, and whether the test set is large enough to show anything."""
    if one["better"] == champion.run_id:
        fault, fix = "worse than", "promote another run"
    else:
        fault, fix = "not shown to be as good as", "promote another run, or accept a larger loss with --margin"
    power = f"an equally good one would pass with a probability of {test.power:.0%} on these {shots:,} test shots"
    if one["better"] != champion.run_id and test.power < POWER:
        more, few = f"test on about {float(f'{test.shots:.2g}'):,.0f} shots", "the test set is"
        if not isfinite(test.shots):
            more, few = "train more seeds (compare.seeds)", "the groups of seeds are"
        if one["level"] == "settings" or isfinite(test.shots):
            power = f"{few} too small to tell: {power}"
            fix = f"{more} ({POWER:.0%} power), {fix}"
    return (
        f"run {version.run_id}: {fault} the champion, {champion} (found {one['verdict']}, expected an interval of the loss "
        f"that ends below {limit}; {power}). Fix: {fix}"
    )
