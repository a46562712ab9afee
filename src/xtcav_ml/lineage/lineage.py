"""Where a result comes from: what DVC looks at, in the workspace or in dvc.lock, and the environment."""

import contextlib
import hashlib
import importlib.metadata
import itertools
import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from xtcav_ml.system.errors import UserError

PARAMS = "params.yaml"
LIBRARIES = ("dvc", "h5py", "jax", "jaxlib", "keras", "mlflow", "numba", "numpy", "optuna", "tensorflow")


@dataclass(frozen=True)
class Lineage:
    """All that decides what a stage produces: its parameters and the MD5 of every file it depends on, as DVC knows them."""

    params: dict[str, Any]
    data: dict[str, str]
    code: dict[str, str]

    @property
    def identity(self) -> dict[str, str]:
        """Return a hash of each of the things that decide the result, and the environment, by name."""
        parts = {"parameters": self.params, "data": self.data, "code": self.code, "environment": environment()}
        return {
            name: hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest() for name, part in parts.items()
        }

    @property
    def key(self) -> str:
        """Return the hash of parameters, data and code (32 hexadecimal digits).

        Equal keys are the same training; in the same environment, on the same device, it gives the same result.
        """
        parts = {"params": self.params, "data": self.data, "code": self.code}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def project_root() -> Path:
    """Return the project's folder: DVC_ROOT inside a stage, else this folder or the nearest above with a dvc.yaml.

    DVC runs queued experiments in temporary copies; DVC_ROOT is then still the original, where the MLflow store is.
    """
    if os.environ.get("DVC_ROOT"):
        return Path(os.environ["DVC_ROOT"])
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file() and (folder / PARAMS).is_file():
            return folder
    raise UserError(
        f"{here}: must be inside the project's folder, found no dvc.yaml and params.yaml here or above; cd there"
    )


def of_stage(stage: str, workspace: Path = Path()) -> Lineage:
    """Return the lineage of what `stage` of dvc.yaml would produce now. Raises UserError if a dependency is missing."""
    definition = YAML(typ="safe", pure=True).load((workspace / "dvc.yaml").read_text())["stages"][stage]
    from xtcav_ml.config.base import read_tree  # a third of the time that `record` needs to find nothing to do

    tree = read_tree(workspace / PARAMS)
    params = {name: _lookup(tree, name) for name in definition.get("params", [])}
    hashes = {dep: file_md5(workspace / dep) for dep in definition["deps"]}
    code = {dep: value for dep, value in hashes.items() if dep.endswith(".py")}
    return Lineage(params, {dep: value for dep, value in hashes.items() if dep not in code}, code)


def of_experiment(params: dict[str, Any], data: Sequence[Path], workspace: Path = Path()) -> Lineage:
    """Return the lineage of an experiment of the notes: its parameters, data, and code as experiments/dvc.yaml lists it."""
    stages = YAML(typ="safe", pure=True).load((workspace / "experiments" / "dvc.yaml").read_text())["stages"]
    code = [dep for dep in stages["train"]["do"]["deps"] if dep.endswith(".py")]
    return Lineage(
        params,
        {str(path): file_md5(workspace / path) for path in data},
        {dep: file_md5(workspace / dep) for dep in code},
    )


def read_lock(text: str | bytes) -> dict[str, Any]:
    """Return the stages of a dvc.lock: for each what it was made of, and what it made, with the hashes as DVC knows them."""
    stages: dict[str, Any] = (YAML(typ="safe", pure=True).load(text) or {}).get("stages", {})
    return stages


def of_lock(stages: Mapping[str, Any], stage: str) -> Lineage | None:
    """Return the lineage of what `stage` made when it last ran, or None if it did not."""
    if stage not in stages:
        return None
    hashes = {dep["path"]: dep["md5"] for dep in stages[stage]["deps"]}
    code = {dep: value for dep, value in hashes.items() if dep.endswith(".py")}
    data = {dep: value for dep, value in hashes.items() if dep not in code}
    return Lineage(stages[stage].get("params", {}).get(PARAMS, {}), data, code)


def _only(stage: str, text: str) -> str:
    """Return what a dvc.lock says of one stage, as a dvc.lock: to read all takes a fifth of what a no-op `record` may."""
    lines = text.splitlines(keepends=True)
    heads = [*(i for i, line in enumerate(lines) if line[:2] == "  " and line[2:3] not in (" ", "-", "")), len(lines)]
    for first, end in itertools.pairwise(heads):
        if lines[first].strip() == f"{stage}:":
            return "stages:\n" + "".join(lines[first:end])
    return text  # not as DVC writes it, or the stage has not run


def of_output(stage: str, path: Path) -> Lineage:
    """Return the lineage of `path`, which `stage` made: as in dvc.lock if that knows this very file, else of the workspace."""
    lock = Path("dvc.lock")
    stages = read_lock(_only(stage, lock.read_text(encoding="utf-8"))) if lock.is_file() else {}
    known = of_lock(stages, stage)
    return known if known and made(stages, stage).get(str(path)) == file_md5(path) else of_stage(stage)


def of_revision(stage: str, read: Callable[[str], bytes]) -> Lineage:
    """Return the lineage of what `stage` makes of the sources that `read` gives by name; the data are those of their dvc.lock.

    Raises UserError if that does not know the stage.
    """
    stages = YAML(typ="safe", pure=True).load(read("dvc.yaml"))["stages"]
    known = of_lock(read_lock(read("dvc.lock")), stage)
    if known is None:
        raise UserError(f"dvc.lock: must have stage {stage!r}, whose data it knows, found none; run `make repro`")
    tree = YAML(typ="safe", pure=True).load(read(PARAMS))
    code = [dep for dep in stages[stage]["deps"] if dep.endswith(".py")]
    return Lineage(
        {name: _lookup(tree, name) for name in stages[stage].get("params", [])},
        known.data,
        {dep: hashlib.md5(read(dep), usedforsecurity=False).hexdigest() for dep in code},
    )


def made(stages: Mapping[str, Any], stage: str) -> dict[str, str]:
    """Return path and hash of each thing that `stage` made when it last ran."""
    return {out["path"]: out["md5"] for out in stages.get(stage, {}).get("outs", [])}


def raw_data(stages: Mapping[str, Any], prepared: Mapping[str, str]) -> dict[str, str]:
    """Return path and hash of the raw data that the prepared files (by path, with their hashes) were made of.

    Nothing where dvc.lock does not know: they were made by hand.
    """
    if not prepared.items() <= made(stages, "prepare").items():
        return {}
    deps = {dep["path"]: dep["md5"] for dep in stages["prepare"]["deps"]}
    return {path: value for path, value in deps.items() if value.endswith(".dir")}


def file_md5(path: Path) -> str:
    """Return the MD5 of a file's bytes, the hash by which DVC knows it."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise UserError(
            f"{path}: must be there to be read, got {error.strerror!r}; run `make repro`, which makes it"
        ) from None


def environment(libraries: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """Return Python, platform, processor and the versions of those libraries that are installed."""
    versions = {}
    for name in libraries:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        **versions,
    }


def _lookup(tree: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        tree = tree[part]
    return tree


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"
