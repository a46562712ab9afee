"""dvc.lock: DVC's record of the last run of each stage."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from xtcav_ml.config.paths import LOCK_FILE, PARAMS_FILE
from xtcav_ml.lineage import fingerprint
from xtcav_ml.system.errors import DAMAGES, reading

CURE = "run `git checkout {0}`, or remove it, then `dvc repro`"


@dataclass(frozen=True)
class Stage:
    """A run of a stage: its parameters, the fingerprint of its code, and MD5s by path of the files that it read and wrote."""

    params: dict[str, Any] = field(default_factory=dict)
    code: str = ""
    deps: dict[str, str] = field(default_factory=dict)
    outs: dict[str, str] = field(default_factory=dict)


def parse(text: str | bytes, file: object = LOCK_FILE, cure: str = CURE) -> dict[str, Stage]:
    """Return the stages of a dvc.lock by name, those of a `foreach` as name@item. Raises UserError if it is damaged."""
    with reading(file, "stages", cure.format(file), (*DAMAGES, YAMLError)):
        stages = (YAML(typ="safe", pure=True).load(text) or {}).get("stages", {})
        return {name: _stage(name, entry) for name, entry in stages.items()}


def entries(path: Path) -> dict[str, Any]:
    """Return the stages of a lock file as DVC wrote them; none if it is missing. Raises UserError if it is damaged."""
    if not path.is_file():
        return {}
    with reading(path, "stages", CURE.format(path), (*DAMAGES, YAMLError)):
        return dict(YAML(typ="safe", pure=True).load(path.read_bytes())["stages"])


def raw_data(stages: Mapping[str, Stage], prepared: Mapping[str, str]) -> dict[str, str]:
    """Return path and hash of the raw data of the `prepared` files (hashes by path); empty if the lock does not have these."""
    stage = stages.get("prepare", Stage())
    recorded = prepared.items() <= stage.outs.items()
    return {path: md5 for path, md5 in stage.deps.items() if recorded and md5.endswith(".dir")}


def _stage(name: str, entry: Mapping[str, Any]) -> Stage:
    params = entry.get("params", {})
    codes = [
        values["fingerprint"] for file, values in params.items() if Path(file).parent.name == fingerprint.FOLDER.name
    ]
    deps, outs = ({f"{file['path']}": f"{file['md5']}" for file in entry.get(kind, [])} for kind in ("deps", "outs"))
    return Stage(params.get(str(PARAMS_FILE), {}), codes[0] if codes else "", deps, outs)
