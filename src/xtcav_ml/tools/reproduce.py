"""reproduce: a run of MLflow, made again in a folder of its own from what it says of itself -> what is the same."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from xtcav_ml.config.paths import HISTORY, METRICS
from xtcav_ml.lineage import dvc_lock, lineage, recorded
from xtcav_ml.lineage.environment import environment
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console
from xtcav_ml.tools.reproduction import comparison, original, restored
from xtcav_ml.tools.reproduction.comparison import Row
from xtcav_ml.tools.reproduction.original import Original
from xtcav_ml.tracking import resources, uploader
from xtcav_ml.tracking.mlflow_names import metric_name
from xtcav_ml.tracking.provenance import LOCK

FOLDER = Path("reproduced")


def run(wanted: str, into: Path | None) -> bool:
    """Repeat the run whose id is or begins with `wanted` in the folder `into`; returns whether all came out the same.

    Raises UserError if the run, or what made it, is not to be had, if the folder is not new, or if a stage fails.
    """
    root, screen = lineage.project_root(), console()
    uploader.be_brief()
    first = original.fetch(root, wanted)
    folder = into or root / FOLDER / first.run_id[:8]
    if folder.exists():
        raise UserError(f"{folder}: must be new, got one that is there; remove it, or name another with --into")
    edited = "edited" if first.tags.get("git.dirty") == "true" else "as committed"
    screen.print(f"{first.name}, run {first.run_id}: commit {first.tags['git.commit'][:12]}, {edited}, into {folder}")
    try:
        remarks = restored.restore(first, root, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    backend = first.environment.get("backend", "tensorflow")
    differing = comparison.environment(first.environment, environment() | {"backend": backend} | resources.gpus())
    for remark in remarks + [f"{row.what}: {row.then} in the run, {row.now} here" for row in differing]:
        screen.print(f"note: {remark}")
    if restored.run_stages(folder, backend):
        raise UserError(f"{folder}: its stages must succeed, as they did in the run, got the failure above; look there")
    return _compare(first, folder, differing)


def _compare(first: Original, folder: Path, differing_environment: Sequence[Row]) -> bool:
    """Print what is the same and what differs; returns whether nothing does."""
    screen = console()
    stages = dvc_lock.parse((folder / LOCK).read_bytes())
    parts = [
        comparison.files(first.stages, stages),
        comparison.metrics(first.metrics, json.loads((folder / METRICS).read_text())),
        comparison.curves(first.curves, _curves(folder / HISTORY)),
    ]
    screen.print(_table(parts, first.run_id[:8]))
    rows = [row for part in parts for row in part]
    others = sum(row.same and row.minor for row in rows)
    if others:
        screen.print(f"and {others} more, all the same: numbers of classes and of the confusion matrix, epoch by epoch")
    differing = [row for row in rows if not row.same]
    if not differing:
        screen.print(f"run {first.run_id} is reproduced: all {len(rows)} hashes and metrics are the same; in {folder}")
        return True
    now = recorded.of_folder(folder)
    code = recorded.changed_code(first.code, now.code if now else {})
    screen.print(f"code that differs: {', '.join(code) or 'none'}")
    named = [f"{row.what} ({row.then} in the run, {row.now} here)" for row in differing_environment]
    screen.print(f"environment that differs: {', '.join(named) or 'nothing'}")
    screen.print(
        f"run {first.run_id} is not reproduced: {len(differing)} of {len(rows)} hashes and metrics differ, "
        f"first {differing[0].what}; in {folder}"
    )
    return False


def _curves(history: Path) -> dict[str, dict[int, float]]:
    """Return the metrics of each epoch by the names that MLflow has for them."""
    found: dict[str, dict[int, float]] = {}
    for line in history.read_text(encoding="utf-8").splitlines():
        values: dict[str, Any] = json.loads(line)
        epoch = values.pop("epoch")
        for name, value in values.items():
            found.setdefault(metric_name(name), {})[epoch] = value
    return found


def _table(parts: Sequence[Sequence[Row]], run: str) -> Table:
    title = "hashes of files, what metrics.json says, and values of the last epoch, or of the first that differs"
    table = Table(title=title, title_justify="left", title_style="")
    for heading in ("", f"run {run}", "here", ""):
        table.add_column(heading)
    for rows in parts:
        for row in rows:
            if not (row.same and row.minor):
                table.add_row(row.what, row.then, row.now, "same" if row.same else "different")
        table.add_section()
    return table
