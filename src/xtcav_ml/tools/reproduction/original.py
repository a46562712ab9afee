"""A run as MLflow has it: all that a repetition starts from, and all that it is then compared with."""

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xtcav_ml.config.base import PARAMS_FILE
from xtcav_ml.config.paths import STAGES
from xtcav_ml.lineage import dvc_lock, lineage
from xtcav_ml.lineage.fingerprint import Code
from xtcav_ml.system.errors import UserError, masked
from xtcav_ml.tracking import mlflow_store
from xtcav_ml.tracking.mlflow_names import EVALUATION_TAG, of_test, store_uri
from xtcav_ml.tracking.provenance import FOLDER, LOCK

USAGE = "system/"
"""Begins the names of metrics that no training has to repeat."""


@dataclass(frozen=True)
class Original:
    """What made a run, and what came out."""

    run_id: str
    name: str
    tags: Mapping[str, str]
    params: bytes  # params.yaml
    patch: bytes  # what was edited since the commit; empty if nothing was
    stages: Mapping[str, dvc_lock.Stage]  # of its dvc.lock
    code: Mapping[str, Code]  # of each stage
    metrics: Mapping[str, Any]  # of its metrics.json
    curves: Mapping[str, Mapping[int, float]]  # by name and epoch

    @property
    def environment(self) -> dict[str, str]:
        """Return what the run was made with, as `environment` says it."""
        return {name.removeprefix("env."): value for name, value in self.tags.items() if name.startswith("env.")}


def fetch(root: Path, wanted: str) -> Original:
    """Return the run whose id is or begins with `wanted`.

    Raises UserError if there is none or more than one, or if it has not all that leads back to what made it.
    """
    found = mlflow_store.beginning(root, wanted) if re.fullmatch("[0-9a-f]{4,32}", wanted) else []
    if len(found) != 1:
        raise UserError(
            f"{wanted}: must be the id of a run in {masked(store_uri(root))}, or at least 4 digits that only one begins with, "
            f"got {'several' if found else 'none'}; `xtcav runs` and `make ui` list them"
        )
    run_id, tags = str(found[0].info.run_id), dict(found[0].data.tags)
    _require_repeatable(run_id, found[0].info.status, tags)
    names = [name for name in found[0].data.metrics if not name.startswith(USAGE) and not of_test(name)]
    with tempfile.TemporaryDirectory() as folder:

        def read(name: str) -> bytes:
            return mlflow_store.download(root, run_id, name, Path(folder)).read_bytes()

        stages = dvc_lock.parse(read(f"{FOLDER}/{LOCK}"))
        return Original(
            run_id,
            found[0].info.run_name,
            tags,
            read(f"{FOLDER}/{PARAMS_FILE}"),
            _whole(run_id, read(f"{FOLDER}/diff.patch"), tags) if "git.diff.sha256" in tags else b"",
            stages,
            {
                name: lineage.recorded_code(name, stages[name].code, lambda file: read(f"{FOLDER}/{file}"))
                for name in STAGES
                if name in stages
            },
            json.loads(read("metrics.json")),
            mlflow_store.curves(root, run_id, names),
        )


def _require_repeatable(run_id: str, status: str, tags: Mapping[str, str]) -> None:
    """Raise UserError if the run says too little of where it comes from, or has not ended."""
    commit = tags.get("git.commit", "none")
    if tags.get("stage") != "train":
        raise UserError(
            f"run {run_id}: must be of the train stage, got stage {tags.get('stage', 'none')!r}; `xtcav experiment NAME` "
            "repeats an experiment of the notes, and `make repro` trains what `xtcav promote` takes from a search"
        )
    if status != "FINISHED":
        raise UserError(f"run {run_id}: must be FINISHED, got {status}; wait for its end, or reproduce another")
    if EVALUATION_TAG not in tags:
        raise UserError(
            f"run {run_id}: must have {FOLDER}/{LOCK} and metrics.json, which `xtcav record` adds, got neither; "
            "run `dvc repro` where it was made"
        )
    if not re.fullmatch("[0-9a-f]{40,64}", commit):
        raise UserError(
            f"run {run_id}: must be of a git commit, got {commit!r} (tag git.commit); train again in a clone of the project"
        )
    if tags.get("git.dirty") == "true" and not tags.keys() & {"git.diff.sha256", "git.diff.left_out"}:
        raise UserError(
            f"run {run_id}: must have {FOLDER}/diff.patch, since the code was edited (tag git.dirty), got none; "
            "commit, and train again"
        )


def _whole(run_id: str, patch: bytes, tags: Mapping[str, str]) -> bytes:
    """Return the patch. Raises UserError if it is not the one that the run was made with."""
    digest = hashlib.sha256(patch).hexdigest()
    if digest != tags["git.diff.sha256"]:
        raise UserError(
            f"run {run_id}: {FOLDER}/diff.patch must have the SHA-256 {tags['git.diff.sha256']} (tag git.diff.sha256), got "
            f"{digest}; bring the artifact back from a copy"
        )
    return patch
