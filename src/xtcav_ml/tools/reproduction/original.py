"""A run in MLflow: all that a repetition starts from, and all that it is then compared with."""

import contextlib
import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xtcav_ml.config.paths import EVALUATION, LOCK_FILE, METRICS, PARAMS_FILE, PREDICTIONS, STAGES
from xtcav_ml.lineage import dvc_lock, lineage
from xtcav_ml.lineage.environment import CLASS
from xtcav_ml.lineage.fingerprint import Code
from xtcav_ml.system.errors import UserError, reading
from xtcav_ml.tracking import mlflow_store
from xtcav_ml.tracking.find_runs import find_run, spread_of_seeds
from xtcav_ml.tracking.mlflow_names import (
    DEVICE,
    ENVIRONMENT,
    EVALUATION_TAG,
    GROUP_STAGE,
    LINEAGE,
    REBUILT_TAG,
    SEED_STAGE,
    SYSTEM,
)

RESTORE = "restore the artifact from a copy, or reproduce another run"


@dataclass(frozen=True)
class Original:
    """Inputs and results of a run."""

    run_id: str
    name: str
    tags: Mapping[str, str]
    params: bytes  # params.yaml
    patch: bytes  # what was edited since the commit; empty if nothing was
    stages: Mapping[str, dvc_lock.Stage]  # of its dvc.lock
    code: Mapping[str, Code]  # of each stage
    metrics: Mapping[str, Any]  # of its evaluation.json
    curves: Mapping[str, Mapping[int, float]]  # by name and epoch, from 1; results of the test have step 0
    environment: Mapping[str, str]  # libraries and machine, named as by `environment`
    predictions: str = ""  # its table of them
    seeds: Mapping[str, float] | None = None  # metrics of the group of seeds of its settings, if there is one


def fetch_run(root: Path, name: str) -> Original:
    """Return the run that `name` names, as `find_run`.

    Raises UserError if there is none or more than one, or if it lacks something that a repetition needs.
    """
    run = find_run(root, name)
    run_id, tags = str(run.info.run_id), dict(run.data.tags)
    _require_repeatable(run_id, run.info.status, tags, run.data.params.get("train.seed", "?"))
    names = [name for name in run.data.metrics if not name.startswith(SYSTEM)]  # whose values are never the same
    with tempfile.TemporaryDirectory() as folder:

        def read(name: str) -> bytes:
            return mlflow_store.download(root, run_id, name, Path(folder)).read_bytes()

        def read_lineage(name: str | Path) -> bytes:
            return read(f"{LINEAGE}/{name}")

        def read_table(name: str) -> dict[str, Any]:
            content = read(name)
            with reading(f"run {run_id}: {name}", "JSON as it was logged", RESTORE):
                return dict(json.loads(content))

        stages = dvc_lock.parse(read_lineage(LOCK_FILE), f"run {run_id}: {LINEAGE}/{LOCK_FILE}", RESTORE)
        ran = [name for name in STAGES if name in stages]
        patch = read_lineage("diff.patch") if "git.diff.sha256" in tags else b""
        if "git.diff.sha256" in tags and (digest := hashlib.sha256(patch).hexdigest()) != tags["git.diff.sha256"]:
            raise UserError(
                f"run {run_id}: {LINEAGE}/diff.patch was changed (found SHA-256 {digest}, expected "
                f"{tags['git.diff.sha256']}, tag git.diff.sha256). Fix: {RESTORE}"
            )
        return Original(
            run_id,
            run.info.run_name,
            tags,
            read_lineage(PARAMS_FILE),
            patch,
            stages,
            {name: lineage.recorded_code(name, stages[name].code, read_lineage) for name in ran},
            read_table(evaluation_of(stages).name),
            {name: curve for name, curve in mlflow_store.curves(root, run_id, names).items() if 0 not in curve},
            _environment(read_table, tags),
            _predictions(read),
            spread_of_seeds(root, run),
        )


def evaluation_of(stages: Mapping[str, dvc_lock.Stage]) -> Path:
    """Return the file with all metrics of the test: METRICS, if an earlier version of this program evaluated."""
    return EVALUATION if str(EVALUATION) in stages.get("evaluate", dvc_lock.Stage()).outs else METRICS


def _environment(read: Callable[[str], dict[str, Any]], tags: Mapping[str, str]) -> dict[str, str]:
    """Return libraries and machine of a run, which earlier versions of this program kept as tags."""
    earlier = {name.removeprefix("env."): value for name, value in tags.items() if name.startswith("env.")}
    found = earlier or read(f"{LINEAGE}/{ENVIRONMENT}")
    unknown = {DEVICE, CLASS} if REBUILT_TAG in tags else {DEVICE}  # which the others decide; where it was not trained
    return {name: value for name, value in found.items() if name not in unknown}


def _predictions(read: Callable[[str], bytes]) -> str:
    """Return the run's table of predictions; empty if there is none."""
    with contextlib.suppress(UserError):
        return read(PREDICTIONS.name).decode(errors="replace")
    return ""


def _require_repeatable(run_id: str, status: str, tags: Mapping[str, str], seed: str) -> None:
    """Raise UserError if the run does not name its origin, or has not ended."""
    run, stage, commit = f"run {run_id}", tags.get("stage", "none"), tags.get("git.commit", "none")
    if stage in (SEED_STAGE, GROUP_STAGE):
        train = f"set train.seed: {seed}, then run `make repro`" if stage == SEED_STAGE else "run `make seeds`"
        fault = (
            f"{run}: of a group of seeds, which is logged without what a folder of its own would need (found stage {stage!r}, "
            f"expected 'train'). Fix: run `git checkout {commit}` in a clone with these data, and {train}"
        )
    elif stage != "train":
        fault = (
            f"{run}: not of the train stage (found {stage!r}, expected 'train'). Fix: run `xtcav experiment NAME` for "
            "one of the notes, or `xtcav promote` and `make repro` for one of a search"
        )
    elif status != "FINISHED":
        fault = f"{run}: not complete (found {status}, expected FINISHED). Fix: wait for its end, or reproduce another"
    elif EVALUATION_TAG not in tags:
        fault = f"{run}: not recorded (found no {EVALUATION_TAG}, expected {EVALUATION.name}). Fix: run `dvc repro`"
    elif not re.fullmatch("[0-9a-f]{40,64}", commit):
        fault = f"{run}: not of a git commit (found tag git.commit {commit!r}, expected 40 digits). Fix: train again in a clone"
    elif tags.get("git.dirty") == "true" and not tags.keys() & {"git.diff.sha256", "git.diff.left_out"}:
        fault = f"{run}: edited after its commit (found tag git.dirty, expected {LINEAGE}/diff.patch). Fix: commit, then train"
    else:
        return
    raise UserError(fault)
