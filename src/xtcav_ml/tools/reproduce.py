"""reproduce: an MLflow run, repeated in a folder of its own from what MLflow has of it -> what is the same."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xtcav_ml.config.paths import HISTORY, LOCK_FILE, PREDICTIONS
from xtcav_ml.data import result_files
from xtcav_ml.data.history import read_history
from xtcav_ml.lineage import dvc_lock, project, recorded
from xtcav_ml.lineage.environment import environment
from xtcav_ml.system import variables
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console, titled_table
from xtcav_ml.tools.reproduction import comparison, original, restored
from xtcav_ml.tools.reproduction.original import Original
from xtcav_ml.tracking import resources, uploader
from xtcav_ml.tracking.mlflow_names import VALIDATION_LOSS, earlier_name, storable

REPRODUCED = Path("reproduced")


def reproduce_run(prefix: str, into: Path | None) -> bool:
    """Repeat the run whose id is or begins with `prefix` in the folder `into`; returns whether all results are the same.

    Goes on where an earlier call was interrupted. Raises UserError if the run, or something that it needs, is missing, if the
    folder exists and is not this run's, or if a stage fails.
    """
    root, screen = project.find_root(), console()
    uploader.be_brief()
    run = original.fetch_run(root, prefix)
    folder = into or root / REPRODUCED / run.run_id[:8]
    edited = "edited" if run.tags.get("git.dirty") == "true" else "as committed"
    screen.print(f"{run.name}, run {run.run_id}: commit {run.tags['git.commit'][:12]}, {edited}, into {folder}")
    if folder.exists():
        screen.print("  goes on in the folder of an earlier call")
    else:
        restored.restore(run, root, folder)
    with restored.taken(run, folder) as (lock, remarks):
        return _repeat(run, folder, remarks, lock)


def _repeat(run: Original, folder: Path, remarks: Sequence[str], lock: int) -> bool:
    """Run the stages in a folder with the run's project; returns whether all results are the same."""
    screen = console()
    backend, settings = run.environment.get("backend", "tensorflow"), variables.counted(environment=run.environment)
    here = {name: value for name, value in environment().items() if not variables.counts(name)}
    here |= {"backend": backend} | settings | resources.gpus()
    differing = comparison.compare_environments(run.environment, here)
    machine = [f"{row.name} ({row.then} in the run, {row.now} here)" for row in differing]
    for remark in [*remarks, *machine]:
        screen.print(f"note: {remark}")
    if restored.run_stages(folder, {"KERAS_BACKEND": backend, **settings}, lock):
        raise UserError(
            f"{folder}: a stage fails (found the error above, expected exit code 0). Fix: run `dvc repro` there"
        )
    return _compare(run, folder, machine, comparison.other_class(run.environment, here))


def _compare(run: Original, folder: Path, machine: Sequence[str], other_class: str | None) -> bool:
    """Print what is the same and what differs; returns whether nothing does."""
    screen = console()
    stages = dvc_lock.parse((folder / LOCK_FILE).read_bytes(), folder / LOCK_FILE, restored.AGAIN)
    metrics = result_files.read(
        folder / original.evaluation_of(stages), dict[str, Any], restored.AGAIN.format(folder / LOCK_FILE)
    )
    sections = [
        comparison.compare_files(run.stages, stages),
        comparison.compare_metrics(run.metrics, metrics),
        comparison.compare_curves(run.curves, _curves(folder / HISTORY, earlier_name(VALIDATION_LOSS) in run.curves)),
    ]
    title = "hashes of files, values of the test, and values of the last epoch, or of the first that differs"
    headings = ["", f"run {run.run_id[:8]}", "here", ""]
    table = titled_table(title, headings, headings)
    table.columns[0].no_wrap = True  # a name that is broken in two cannot be searched for
    for section in sections:
        for row in section:
            if not (row.same and row.minor):
                table.add_row(row.name, row.then, row.now, "same" if row.same else "different")
        table.add_section()
    screen.print(table)
    rows = [row for section in sections for row in section]
    others = sum(row.same and row.minor for row in rows)
    if others:
        screen.print(f"and {others} more, all the same: numbers of classes and of the confusion matrix, epoch by epoch")
    if not (differing := [row for row in rows if not row.same]):
        screen.print(f"run {run.run_id} is reproduced: all {len(rows)} hashes and metrics are the same; in {folder}")
        return True
    now = recorded.of_folder(folder)
    code = recorded.changed_code(run.code, now.code) if now else ["not recorded"]
    screen.print(f"code that differs: {', '.join(code) or 'none'}")
    screen.print(f"environment that differs: {', '.join(machine) or 'nothing'}")
    verdict = f"is not reproduced: {len(differing)} of {len(rows)} hashes and metrics differ, first {differing[0].name}"
    if other_class and not code and comparison.only_weights_differ(sections[0], stages):
        changed = comparison.changed_predictions(run.predictions, _text(folder / PREDICTIONS))
        verdict = comparison.on_another_class(other_class, run.metrics, metrics, run.seeds, changed)
    screen.print(f"run {run.run_id} {verdict}; in {folder}")
    return False


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _curves(history: Path, earlier: bool) -> dict[str, dict[int, float]]:
    """Return the metrics of each epoch by their names in MLflow, or by those of `earlier` versions of this program."""
    curves: dict[str, dict[int, float]] = {}
    for values in read_history(history):
        epoch = int(values.pop("epoch"))
        for name, value in storable(values).items():
            curves.setdefault(earlier_name(name) if earlier else name, {})[epoch] = value
    return curves
