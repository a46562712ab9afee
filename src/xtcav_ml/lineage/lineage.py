"""Where a result comes from: parameters, data and code, as in the workspace or as in dvc.lock."""

import functools
import hashlib
import json
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from xtcav_ml.config.paths import EXPERIMENTS, LOCK_FILE, PARAMS_FILE
from xtcav_ml.lineage import dvc_lock, fingerprint
from xtcav_ml.lineage.environment import deciding
from xtcav_ml.lineage.fingerprint import Code
from xtcav_ml.system.errors import DAMAGES, UserError, reading

COVERAGE = "coverage"  # of section train


@dataclass(frozen=True)
class Lineage:
    """All that decides a stage's outputs: its parameters, the MD5 of every file it reads, as in DVC, and its code."""

    params: dict[str, Any]
    data: dict[str, str]
    code: Code

    @property
    def identity(self) -> dict[str, str]:
        """Return a hash of each of the things that decide the result on this machine, by name.

        What cannot change a bit (the kernel, MLflow, DVC, Optuna) is no part of it.
        """
        parts = {
            "parameters": self.params,
            "data": self.data,
            "code": self.code.fingerprint,
            "environment": deciding(self.code.libraries),
        }
        return {name: _digest(part) for name, part in parts.items()}

    @property
    def key(self) -> str:
        """Return the hash of parameters, data and code (32 hexadecimal digits).

        Equal keys are the same training; on the same backend, processor and device, it gives the same result.
        """
        return _digest({"params": self.params, "data": self.data, "code": self.code.fingerprint})[:32]

    @property
    def group(self) -> str:
        """Return the same hash of all but the seed of a training: its runs with other seeds have it, too."""
        return self.without_seed.key

    @property
    def without_seed(self) -> "Lineage":
        """Return what the trainings with any seed have in common."""
        return self._without("seed")

    @property
    def without_coverage(self) -> "Lineage":
        """Return what decides a training up to its last epoch: all but what the network states of its predictions."""
        return self._without(COVERAGE)

    @property
    def coverage(self) -> Any:
        """Return the share that these statements are to hold for; None if params.yaml leaves it out."""
        return self.params.get("train", {}).get(COVERAGE)

    def _without(self, left_out: str) -> "Lineage":
        train = {name: value for name, value in self.params.get("train", {}).items() if name != left_out}
        return replace(self, params={**self.params, "train": train})

    def with_seed(self, seed: int) -> "Lineage":
        """Return the lineage of the same training with another seed."""
        return replace(self, params={**self.params, "train": {**self.params["train"], "seed": seed}})


def _digest(part: Any) -> str:
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()


def of_stage(stage: str, workspace: Path = Path()) -> Lineage:
    """Return the lineage of the outputs that `stage` of dvc.yaml would have now. Raises UserError if a file is missing."""
    definition = _definition((workspace / "dvc.yaml").read_bytes(), stage)
    from xtcav_ml.config.base import read_tree  # a third of the time that `record` needs to find nothing to do

    data = _hashes(definition["deps"], workspace / LOCK_FILE, workspace)
    return Lineage(
        _params(definition, read_tree(workspace / PARAMS_FILE)), data, fingerprint.present_code(stage, workspace)
    )


def of_experiment(params: dict[str, Any], data: Sequence[Path], workspace: Path = Path()) -> Lineage:
    """Return the lineage of the training of an experiment of the notes, from its parameters and data. Raises as `of_stage`."""
    hashes = _hashes(data, workspace / EXPERIMENTS / LOCK_FILE, workspace)
    return Lineage(params, hashes, fingerprint.present_code("notes-train", workspace))


def of_output(stage: str, path: Path) -> Lineage:
    """Return the lineage of `path`, an output of `stage`: as in dvc.lock if that has this very file, else of the workspace."""
    ran = _lock(LOCK_FILE).get(stage)
    if ran is None or ran.outs.get(str(path)) != file_md5(path):
        return of_stage(stage)
    return Lineage(ran.params, ran.deps, recorded_code(stage, ran.code, lambda name: Path(name).read_bytes()))


def recorded_md5(path: Path) -> str | None:
    """Return the MD5 that DVC recorded of an output of a stage; None if it has recorded none."""
    return (_outputs(EXPERIMENTS / LOCK_FILE) | _outputs(LOCK_FILE)).get(path)


def recorded_coverage() -> Any:
    """Return what DVC recorded of `train.coverage` when it last trained; None if that is nothing."""
    ran = _lock(LOCK_FILE).get("train")
    return None if ran is None else ran.params.get("train", {}).get(COVERAGE)


def require_outputs(paths: Sequence[Path]) -> None:
    """Raise UserError if dvc.lock does not have these very files and folders, in this folder, as outputs of stages."""
    outputs = {path: md5 for stage in _lock(LOCK_FILE).values() for path, md5 in stage.outs.items()}
    for path in paths:
        found, expected = _folder_md5(path) if path.is_dir() else file_md5(path), outputs.get(str(path))
        if found != expected:
            raise UserError(
                f"{path}: not the output of a stage (found MD5 {found}, expected {expected} as in {LOCK_FILE}). Fix: run `dvc "
                "repro`, or `dvc commit` if it is to count all the same"
            )


def of_revision(stage: str, read: Callable[[str], bytes]) -> Lineage:
    """Return the lineage of the outputs of `stage` from the files that `read` returns by name.

    The data are those of their dvc.lock, the code is what the `code` stage wrote. Raises UserError if the lock lacks the stage.
    """
    ran = dvc_lock.parse(read(str(LOCK_FILE))).get(stage)
    if ran is None:
        raise UserError(f"{LOCK_FILE}: stage {stage!r} is missing (expected its deps and outs). Fix: run `make repro`")
    definition = _definition(read("dvc.yaml"), stage)
    with reading(PARAMS_FILE, "parameters", f"run `git checkout {PARAMS_FILE}`", (*DAMAGES, YAMLError)):
        params = _params(definition, YAML(typ="safe", pure=True).load(read(str(PARAMS_FILE))))
    with reading(fingerprint.file_of(stage), "the code of a stage", "run `xtcav fingerprint`"):
        return Lineage(params, ran.deps, Code.from_json(read(str(fingerprint.file_of(stage)))))


def recorded_code(program: str, recorded: str, read: Callable[[str], bytes]) -> Code:
    """Return the code of a program with the fingerprint `recorded`, with modules and libraries if the program's file has them.

    `read` returns a file by name, and raises OSError or UserError for a missing one.
    """
    try:
        code = Code.from_json(read(str(fingerprint.file_of(program))))
    except (OSError, UserError, *DAMAGES):
        return Code(recorded)
    return code if code.fingerprint == recorded else Code(recorded)


def file_md5(path: Path) -> str:
    """Return the MD5 of a file's bytes, which is also its hash in DVC."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read (found {error.strerror!r}, expected a file). Fix: run `make repro`"
        ) from None


def _folder_md5(folder: Path) -> str:
    """Return the hash of a folder in DVC, which is that of a list of its files."""
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    listed = json.dumps([{"md5": file_md5(path), "relpath": name} for name, path in files])
    return f"{hashlib.md5(listed.encode(), usedforsecurity=False).hexdigest()}.dir"


def _hashes(paths: Sequence[Path], lock: Path, workspace: Path) -> dict[str, str]:
    """Return the MD5 of each file. A file that is in DVC's cache under its hash in `lock` is not read again.

    The workspace's file is then a link to the cache's: gigabytes that DVC has just hashed.
    """
    locked = _outputs(lock)
    cache = Path(os.environ.get("DVC_ROOT") or lock.parent) / ".dvc" / "cache" / "files" / "md5"
    hashes = {}
    for path in paths:
        md5 = locked.get(workspace / path, "")
        cached = cache / md5[:2] / md5[2:]
        same = md5 and cached.is_file() and (workspace / path).exists() and cached.samefile(workspace / path)
        hashes[str(path)] = md5 if same else file_md5(workspace / path)
    return hashes


def _outputs(lock: Path) -> dict[Path, str]:
    return {lock.parent / path: md5 for stage in _lock(lock).values() for path, md5 in stage.outs.items()}


def _lock(path: Path) -> dict[str, dvc_lock.Stage]:
    return dvc_lock.parse(path.read_bytes()) if path.is_file() else {}


def _definition(text: bytes, stage: str) -> Mapping[str, Any]:
    """Return what a dvc.yaml has of a stage. Raises UserError if it is damaged."""
    with reading("dvc.yaml", f"stage {stage} with deps", "run `git checkout dvc.yaml`", (*DAMAGES, YAMLError)):
        definition: dict[str, Any] = YAML(typ="safe", pure=True).load(text)["stages"][stage]
        return {"params": [], **definition, "deps": [Path(dep) for dep in definition["deps"]]}


def _params(definition: Mapping[str, Any], tree: Any) -> dict[str, Any]:
    """Return the values of params.yaml that a stage of dvc.yaml names; mappings name another file's."""
    names = [name for name in definition["params"] if isinstance(name, str)]
    return {name: functools.reduce(operator.getitem, name.split("."), tree) for name in names}
