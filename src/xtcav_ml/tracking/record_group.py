"""seeds --record: MLflow has the group of seeds as a run with mean and spread, and below it a run for each of its members.

The group's run is one for all time: members that are added later become runs below it, and its metrics get another step, the
number of members. A member that has a run already, since it is also the network of the train stage, is moved below it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xtcav_ml.config.paths import GROUP, GROUP_PREDICTIONS, LOCK_FILE, RESOURCES, SEEDS
from xtcav_ml.data import group_files, result_files
from xtcav_ml.data.history import read_history
from xtcav_ml.lineage import lineage, project
from xtcav_ml.system.errors import UserError
from xtcav_ml.tracking import result_run, runs
from xtcav_ml.tracking.mlflow_names import (
    EVALUATION_TAG,
    GROUP_STAGE,
    GROUP_TAG,
    KEY_TAG,
    LINEAGE,
    MODEL_TAG,
    RUN_ID,
    SEED_STAGE,
    SEEDS_TAG,
    STAGE_TAG,
    SYSTEM,
)
from xtcav_ml.tracking.record import find_finished
from xtcav_ml.tracking.tracker import Run, Tracker

Results = Mapping[str, Any]
Files = Callable[[int], tuple[Path, Path]]
"""Returns network and history of the member with a seed."""


def record(files: Files) -> None:
    """Add to MLflow what it lacks of the group in the workspace. Raises UserError if that is of other settings."""
    root, origin = project.find_root(), lineage.of_stage("train")
    group = result_files.read(GROUP, result_files.Group, group_files.CURE)
    if group["group"] != origin.group:
        found = f"found {group['group']}, expected {origin.group}, that of params.yaml, data and code"
        raise UserError(f"{GROUP}: of other settings ({found}). Fix: {group_files.CURE}")
    tags = {STAGE_TAG: GROUP_STAGE, GROUP_TAG: origin.group, EVALUATION_TAG: lineage.file_md5(GROUP)}
    if _is_recorded(root, tags):
        return
    with Tracker(root, required=True) as tracker:
        common = origin.without_seed
        parent = runs.begin(tracker, common, {**runs.origin_tags(common), **tags}, run_key=f"group-{origin.group}")
        for seed, results in group["seeds"].items():
            _record_member(tracker, parent, origin.with_seed(int(seed)), files(int(seed)), results)
        _log_group(parent, group)
        parent.finish()


def _is_recorded(root: Path, tags: Mapping[str, str]) -> bool:
    try:
        return result_run.finished(root, tags) is not None
    except result_run.UNANSWERED:
        return False


def _record_member(
    tracker: Tracker, parent: Run, origin: lineage.Lineage, files: tuple[Path, Path], results: Results
) -> None:
    """Let the member's finished run be one of the group, or log it from its files."""
    model, history = files
    identity = {KEY_TAG: origin.key, MODEL_TAG: lineage.file_md5(model)}
    run_key, _ = find_finished(tracker.root, tracker.left, identity)
    if run_key:
        tracker.start("member", {GROUP_TAG: origin.group}, parent, run_key=run_key, adds=True).finish()
        return
    tags = {**runs.origin_tags(origin), STAGE_TAG: SEED_STAGE}
    run = runs.begin(tracker, origin, tags, run_key="-".join(identity.values()), parent=parent)
    for values in read_history(history):
        run.metrics(values, step=int(values.pop("epoch")))
    run.metrics(result_files.numbers(results))
    usage = RESOURCES / f"seed-{origin.params['train']['seed']}.json"
    run.metrics({f"{SYSTEM}{k}": v for k, v in result_files.read_if_there(usage, result_files.Usage).items()})
    runs.log_model(run, model)
    run.finish()


def _log_group(run: Run, group: Results) -> None:
    """Log mean, standard deviation and interval of each quantity, at the step of the number of members; tables and a note."""
    seeds, mean = list(group["seeds"]), group["mean"]
    for name, found in mean.items():
        ends = {f"{name}_{end}": found[end] for end in ("sd", "low", "high") if found[end] is not None}
        run.metrics({name: found["mean"], **ends}, step=len(seeds))
    for path in (GROUP, GROUP_PREDICTIONS):
        run.artifact(path)
    run.artifact(LOCK_FILE, LINEAGE)
    run.artifact(SEEDS / LOCK_FILE, f"{LINEAGE}/{SEEDS}")
    lines = [f"**{sentence}**" for sentence in group_files.sentences(group)]
    lines.append(
        f"Seeds {', '.join(seeds)}, {group['shots']:,} test shots. To compare it: `xtcav compare {RUN_ID} RUN`"
    )
    run.tags({SEEDS_TAG: ", ".join(seeds), "mlflow.note.content": "\n\n".join(lines) + "\n"})
