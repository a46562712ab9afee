"""promote-model: another version of the registered model becomes the champion, if it is not worse on the same test shots."""

from pathlib import Path
from tempfile import TemporaryDirectory

from xtcav_ml.lineage import lineage
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console
from xtcav_ml.tools import compare
from xtcav_ml.tracking import mlflow_store
from xtcav_ml.tracking.registry import versions
from xtcav_ml.tracking.registry.versions import Version

IN_COMMON = 0.9
"""Part of the champion's test shots that the other must have been tested on too."""


def run(wanted: str, dry_run: bool) -> None:
    """Make the version that `wanted` names, an alias or a run id or its beginning, the champion.

    Raises UserError that says why not. Either way the reason is kept with the version, unless `dry_run`.
    """
    root = lineage.project_root()
    try:
        _promote(root, wanted, dry_run)
    except mlflow_store.TrackingError as error:
        raise mlflow_store.unanswered(root, error) from None


def _promote(root: Path, wanted: str, dry_run: bool) -> None:
    version, champion = versions.find(root, wanted), versions.champion(root)
    if champion is not None and champion.number == version.number:
        console().print(f"{version} is the champion already")
        return
    found = {"promotion.against": "none" if champion is None else str(champion)}
    try:
        _require_sound(root, version)
        reason = "the first champion" if champion is None else _require_not_worse(champion, version, found)
    except UserError as error:
        if not dry_run:
            versions.describe(version, f"Not promoted: {error}", {"promotion": "refused", **found})
        raise
    if not dry_run:  # the reason first: a promotion that is cut short is then repeated
        versions.describe(version, f"Promoted: {reason}", {"promotion": "promoted", **found})
        versions.crown(version, champion)
    console().print(f"{version} {'would be' if dry_run else 'is now'} the champion: {reason}")


def _require_sound(root: Path, version: Version) -> None:
    """Raise UserError if nothing could lead back from the model to what made it, or if its files were changed."""
    if version.status != "FINISHED":
        raise UserError(
            f"run {version.run_id}: must be FINISHED, got {version.status}; wait for its end, or promote another"
        )
    if version.dirty:
        raise UserError(
            f"run {version.run_id}: must be of a clean commit, got uncommitted changes (tag git.dirty); commit them, train "
            "again with `dvc repro --force --single-item train evaluate`, and promote that run"
        )
    with TemporaryDirectory() as folder:
        versions.fetch(root, version.uri, Path(folder))


def _require_not_worse(champion: Version, version: Version, found: dict[str, str]) -> str:
    """Return what the paired test says, and add its numbers to `found`.

    Raises UserError if the champion is really better in anything that it learned, or if that cannot be told.
    """
    result = compare.compare_runs([champion.run_id, version.run_id], as_json=False)
    (first, second), compared, common = result["runs"], result["comparisons"], result["shots"]
    found["promotion.shots"] = str(common)
    found["promotion.p"] = ", ".join(f"{one['measure']} {one['p']:.3g}" for one in compared)
    if common < IN_COMMON * first["shots"]:
        raise UserError(
            f"run {version.run_id}: must be tested on {IN_COMMON:.0%} of the {first['shots']:,} test shots of the champion, "
            f"{champion}, got {common:,}; evaluate it on the same data and split"
        )
    lacking = [name for name in first["learned"] if name not in second["learned"]]
    if lacking:
        raise UserError(
            f"run {version.run_id}: must have learned what the champion, {champion}, has, got no {lacking[0]}; train it with "
            "the same prepare.label and prepare.regression"
        )
    told = f"{'; '.join(one['verdict'] for one in compared)}; on {common:,} test shots"
    if any(one["better"] == champion.run_id for one in compared):
        raise UserError(f"run {version.run_id}: must not be worse than the champion, got: {told}; promote another")
    return f"not worse than {champion}: {told}"
