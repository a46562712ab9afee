"""What DVC wrote down when it made the results: the parameters and the hashes of data and code that they came from.

params.yaml and the sources may have been edited since; dvc.lock says what the results at hand were made from.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from xtcav_ml.config.base import PARAMS_FILE, flatten
from xtcav_ml.config.paths import SIMULATED
from xtcav_ml.lineage.lineage import Lineage, read_lock
from xtcav_ml.system.errors import UserError

FILES = ("dvc.lock", f"{SIMULATED.parent}/dvc.lock")
STAGES = ("simulate", "prepare", "train", "evaluate")
"""Those whose parameters decide a result, in their order."""


@dataclass(frozen=True)
class Recorded:
    """Parameters by dotted name, and MD5s by path, as DVC knows them."""

    key: str  # of the training's lineage: the tag by which MLflow finds its runs
    params: dict[str, Any]
    data: dict[str, str]  # what the stages read and wrote, in their order
    code: dict[str, str]


def read(read_file: Callable[[str], bytes]) -> Recorded | None:
    """Return what the lock files, read by name with `read_file`, say, or None if they do not say how the network was trained.

    It raises OSError or UserError for a file that is not there. What was simulated counts only if the data are.
    """
    stages: dict[str, Any] = {}
    for name in FILES:
        try:
            stages |= read_lock(read_file(name))
        except (OSError, UserError, AttributeError, TypeError, YAMLError):
            continue
    try:
        return _recorded(stages)
    except (LookupError, AttributeError, TypeError):  # torn, or none that DVC wrote
        return None


def of_folder(folder: Path) -> Recorded | None:
    """Return what the lock files of the project in `folder` say; None as `read`."""
    return read(lambda name: (folder / name).read_bytes())


def differing(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str | None]]:
    """Return the parameters that are not the same in all tables, with each table's value as text, None where it has none."""
    names = dict.fromkeys(name for params in tables.values() for name in params)
    values = {
        name: {one: str(params[name]) if name in params else None for one, params in tables.items()} for name in names
    }
    return {name: found for name, found in values.items() if len(set(found.values())) > 1}


def changed(runs: Sequence[Recorded]) -> tuple[list[str], list[str]]:
    """Return the data, and the sources, that all runs come from and that were not the same for all."""
    data = [{path: md5 for path, md5 in run.data.items() if path.startswith("data/")} for run in runs]  # no results
    return _differing_files(data), _differing_files([run.code for run in runs])


def _differing_files(tables: Sequence[Mapping[str, str]]) -> list[str]:
    common = [path for path in tables[0] if all(path in table for table in tables)] if tables else []
    return [path for path in common if len({table[path] for table in tables}) > 1]


def _recorded(stages: Mapping[str, Any]) -> Recorded:
    params: dict[str, Any] = {}
    hashes: dict[str, str] = {}
    for stage in STAGES:
        entry = stages.get(stage, {})
        for name, value in entry.get("params", {}).get(str(PARAMS_FILE), {}).items():
            params |= flatten(value, name)
        hashes |= _hashes(entry.get("deps", [])) | _hashes(entry.get("outs", []))
    if params["data.raw"] != str(SIMULATED):
        params = {name: value for name, value in params.items() if not name.startswith("simulate.")}
        hashes.pop(str(SIMULATED), None)
    train = stages["train"]
    data, code = _data_and_code(hashes)
    key = Lineage(train["params"][str(PARAMS_FILE)], *_data_and_code(_hashes(train["deps"]))).key
    return Recorded(key, params, data, code)


def _hashes(files: list[dict[str, Any]]) -> dict[str, str]:
    return {file["path"]: file["md5"] for file in files}


def _data_and_code(hashes: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    code = {path: md5 for path, md5 in hashes.items() if path.endswith(".py")}
    return {path: md5 for path, md5 in hashes.items() if path not in code}, code
