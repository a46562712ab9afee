"""The origin of a run: tags, data as MLflow's datasets, and the files from which it can be repeated."""

import hashlib
import itertools
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xtcav_ml.config import parameters, params_file
from xtcav_ml.config.base import PARAMS_FILE, flatten, read_tree
from xtcav_ml.config.paths import SIMULATED, STAGES
from xtcav_ml.lineage import dvc_lock, fingerprint, git, lineage
from xtcav_ml.lineage.environment import environment
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError
from xtcav_ml.tracking import resources
from xtcav_ml.tracking.mlflow_names import CODE_TAG, KEY_TAG
from xtcav_ml.tracking.tracker import Run

FOLDER = "lineage"  # where a run has params.yaml, dvc.lock, diff.patch and the code of its stages among its artifacts

LOCK = Path(dvc_lock.FILE)
TABLE_CHARACTERS = 6500  # most of a note's table of parameters; MLflow takes 8,000 in all


def tags(origin: lineage.Lineage) -> dict[str, str]:
    """Return commit, DVC's experiment, environment, the hashes of data and of the code; `lineage.key` stands for the latter."""
    commit = git.state()
    variables = {"dvc.exp.name": "DVC_EXP_NAME", "dvc.exp.baseline": "DVC_EXP_BASELINE_REV"}
    return {
        KEY_TAG: origin.key,
        "mlflow.source.git.commit": commit["commit"],  # the UI's own column
        **{f"git.{name}": value for name, value in commit.items()},
        **{tag: os.environ[name] for tag, name in variables.items() if name in os.environ},
        **{f"env.{name}": value for name, value in (environment() | resources.gpus()).items()},
        **{f"data.{path}": value for path, value in origin.data.items()},
        CODE_TAG: origin.code.fingerprint,
    }


def params_of_stage() -> dict[str, Any]:
    """Return the sections of params.yaml that decide a training."""
    tree = read_tree()
    simulated = ("simulate",) if Path(tree["data"]["raw"]) == SIMULATED else ()
    return {name: tree[name] for name in ("train", "prepare", "data", *simulated)}


def log_origin(run: Run, origin: lineage.Lineage, params: Mapping[str, Any]) -> None:
    """Log parameters and data, params.yaml, the code of the training, and what was edited since the commit."""
    run.params(flatten(dict(params)))
    stages = dvc_lock.parse(LOCK.read_bytes()) if LOCK.is_file() else {}
    for path, digest in dvc_lock.raw_data(stages, origin.data).items():
        run.dataset(path, digest, path, "raw")
    for path, digest in origin.data.items():
        run.dataset(path, digest, path, "validation" if Path(path).stem == "validation" else "training")
    run.artifact(PARAMS_FILE, FOLDER)
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder) / fingerprint.file_of("train").name
        atomic.write_json(code, vars(origin.code))
        run.artifact(code, f"{FOLDER}/{fingerprint.FOLDER}")
        try:
            changes = git.patch()
        except git.GitError:  # no git, and the tags say so
            return
        if changes.left_out:
            run.tags({"git.diff.left_out": " ".join(changes.left_out)})
        if changes.content:
            run.tags({"git.diff.sha256": hashlib.sha256(changes.content).hexdigest()})
            patch = Path(folder) / "diff.patch"
            patch.write_bytes(changes.content)
            run.artifact(patch, FOLDER)


def log_test_data(run: Run) -> None:
    """Log the test data that the model was measured on, dvc.lock, which has the hashes of all files, and all code."""
    if not LOCK.is_file():
        return
    for path, digest in dvc_lock.parse(LOCK.read_bytes()).get("prepare", dvc_lock.Stage()).outs.items():
        if Path(path).stem == "test":
            run.dataset(path, digest, path, "test")
    run.artifact(LOCK, FOLDER)
    for stage in set(STAGES) - {"train"}:  # the run has that
        code = fingerprint.file_of(stage)
        if code.is_file():
            run.artifact(code, f"{FOLDER}/{fingerprint.FOLDER}")


def note(metrics: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    """Return what the page of a run with these tags opens with in MLflow, in Markdown."""
    lines = []
    if "accuracy" in metrics:
        interval = f"95 % interval {metrics['accuracy_low']:.1%} to {metrics['accuracy_high']:.1%}"
        lines.append(f"**Test accuracy {metrics['accuracy']:.1%}** ({interval}) on {metrics['shots']} shots")
    for name, errors in metrics.get("regression", {}).items():
        if errors["shots"]:
            lines.append(f"**{name}: r.m.s. error {errors['rms_error']:.3g}** on {errors['shots']} test shots")
    commit = tags.get("git.commit", "none")[:12]
    edited = ", edited (`lineage/diff.patch`)" if tags.get("git.dirty") == "true" else ""
    lines.append(f"Data `{read_tree()['data']['raw']}`, commit `{commit}`{edited}")
    lines.append("To repeat it: `xtcav reproduce` with this run's id")
    return "\n\n".join([*lines, _parameter_table()]) + "\n"


def _parameter_table() -> str:
    """Return value, unit and meaning of the parameters of `train` in Markdown, as many as fit into a note."""
    try:
        rows = [row for row in parameters.rows(params_file.load()) if row.key.startswith("train.")]
    except UserError:  # results of an earlier version, whose parameters have no meanings here
        return ""
    lines = [f"| {row.key} | {row.value} | {row.unit} | {row.meaning.replace('|', '&#124;')} |" for row in rows]
    sizes = itertools.accumulate(len(line) + 1 for line in lines)
    kept = [line for line, size in zip(lines, sizes, strict=True) if size <= TABLE_CHARACTERS]
    rest = ["| ... | | | `xtcav params` lists the rest |"] if len(kept) < len(lines) else []
    return "\n".join(["| parameter | value | unit | meaning |", "|---|---|---|---|", *kept, *rest])
