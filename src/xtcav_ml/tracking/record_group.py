"""A group of seeds is a run in MLflow with mean and spread, and below it a run for each of its members.

That of the default network is recorded by `seeds --record`, and one of an experiment of the notes when it is tabulated.
The group's run is one for all time: members that are added later become runs below it, and its metrics get another step, the
number of members. A member that has a run already, since it is also the network of the train stage, is moved below it.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xtcav_ml.config.paths import GROUP, GROUP_PREDICTIONS, LOCK_FILE, RESOURCES, SEEDS
from xtcav_ml.data import group_files, result_files
from xtcav_ml.data.history import read_history
from xtcav_ml.lineage import lineage, project
from xtcav_ml.lineage.lineage import Lineage
from xtcav_ml.system.errors import UserError
from xtcav_ml.tracking import result_run, runs
from xtcav_ml.tracking.mlflow_names import (
    EVALUATION_TAG,
    GROUP_STAGE,
    GROUP_TAG,
    KEY_TAG,
    LINEAGE,
    MODEL_TAG,
    NOTES,
    OF_NOTES,
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
            _record_member(tracker, parent, origin.with_seed(int(seed)), files(int(seed)), results, origin.group)
        _log_group(parent, group)
        parent.finish()


def record_experiment(
    name: str, common: Lineage, members: Mapping[int, tuple[Lineage, Results]], mean: Results, files: Files
) -> None:
    """Add to MLflow what it lacks of the group of seeds of an experiment: of each seed its lineage and results, and their mean.

    `common` is the lineage of all without the seed, and `mean` has mean, sd, low and high of each quantity.
    """
    results = {str(seed): found for seed, (_, found) in members.items()}
    digest = hashlib.md5(json.dumps([results, mean], sort_keys=True).encode(), usedforsecurity=False).hexdigest()
    tags = {STAGE_TAG: GROUP_STAGE, GROUP_TAG: common.key, EVALUATION_TAG: digest, OF_NOTES: name}
    if _is_recorded(root := project.find_root(), tags):
        return
    with Tracker(root, experiment=NOTES, required=True) as tracker:
        tags = {**runs.origin_tags(common), **tags}
        parent = runs.begin(tracker, common, tags, name, run_key=f"group-{common.key}")
        for seed, (origin, found) in members.items():
            _record_member(tracker, parent, origin, files(seed), found, common.key, name)
        _log_mean(parent, mean, len(members))
        lines = [f"**{sentence}**" for sentence in group_files.sentences({"seeds": results, "mean": mean})]
        text = "\n\n".join([*lines, f"Seeds {', '.join(results)} of the experiment {name}"])
        parent.tags({SEEDS_TAG: ", ".join(results), "mlflow.note.content": f"{text}\n"})
        parent.finish()


def _is_recorded(root: Path, tags: Mapping[str, str]) -> bool:
    try:
        return result_run.finished(root, tags) is not None
    except result_run.UNANSWERED:
        return False


def _record_member(
    tracker: Tracker,
    parent: Run,
    origin: Lineage,
    files: tuple[Path, Path],
    results: Results,
    group: str,
    experiment: str = "",
) -> None:
    """Let the member's finished run be one of the group, or log it from its files."""
    model, history = files
    identity = {KEY_TAG: origin.key, MODEL_TAG: lineage.file_md5(model)}
    run_key, _ = find_finished(tracker.root, tracker.left, identity, tracker.experiment)
    if run_key:
        tracker.start("member", {GROUP_TAG: group}, parent, run_key=run_key, adds=True).finish()
        return
    tags = {**runs.origin_tags(origin), GROUP_TAG: group, STAGE_TAG: SEED_STAGE}
    tags |= {OF_NOTES: experiment} if experiment else {}
    run = runs.begin(tracker, origin, tags, experiment, run_key="-".join(identity.values()), parent=parent)
    for values in read_history(history):
        run.metrics(values, step=int(values.pop("epoch")))
    run.metrics(result_files.numbers(results))
    if not experiment:  # whose usage is that of the last of them
        usage = RESOURCES / f"seed-{origin.params['train']['seed']}.json"
        used = result_files.read_if_there(usage, result_files.Usage)
        run.metrics({f"{SYSTEM}{name}": value for name, value in used.items()})
    runs.log_model(run, model)
    run.finish()


def _log_mean(run: Run, mean: Results, seeds: int) -> None:
    """Log mean, standard deviation and interval of each quantity, at the step of the number of members."""
    for name, found in mean.items():
        ends = {f"{name}_{end}": found[end] for end in ("sd", "low", "high") if found[end] is not None}
        run.metrics({name: found["mean"], **ends}, step=seeds)


def _log_group(run: Run, group: Results) -> None:
    """Log mean and spread, tables and a note."""
    seeds = list(group["seeds"])
    _log_mean(run, group["mean"], len(seeds))
    for path in (GROUP, GROUP_PREDICTIONS):
        run.artifact(path)
    run.artifact(LOCK_FILE, LINEAGE)
    run.artifact(SEEDS / LOCK_FILE, f"{LINEAGE}/{SEEDS}")
    lines = [f"**{sentence}**" for sentence in group_files.sentences(group)]
    lines.append(
        f"Seeds {', '.join(seeds)}, {group['shots']:,} test shots. To compare it: `xtcav compare {RUN_ID} RUN`"
    )
    run.tags({SEEDS_TAG: ", ".join(seeds), "mlflow.note.content": "\n\n".join(lines) + "\n"})
