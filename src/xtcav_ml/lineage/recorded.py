"""The origin of the present results, from the lock files: params.yaml and the sources may have been edited since."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xtcav_ml.config.base import flatten
from xtcav_ml.config.paths import LOCK_FILE, LOCK_FILES, PREPARED, SEEDS, SIMULATED, STAGES
from xtcav_ml.lineage import dvc_lock, fingerprint
from xtcav_ml.lineage.fingerprint import Code
from xtcav_ml.lineage.lineage import Lineage, recorded_code
from xtcav_ml.system.errors import DAMAGES, UserError

DECIDING = tuple(stage for stage in STAGES if stage != "check")  # stages whose parameters and code decide a result


@dataclass(frozen=True)
class Recorded:
    """Parameters by dotted name, MD5s by path as DVC knows them, and the code of each stage."""

    key: str  # of the training's lineage: the tag by which MLflow finds its runs
    params: dict[str, Any]
    data: dict[str, str]  # what the stages read and wrote, in their order
    code: dict[str, Code]
    group: str = ""  # the same hash without the seed

    @property
    def simulated(self) -> bool:
        """Return whether the data are simulated shots, which are independent of one another."""
        return self.params.get("data.raw") == str(SIMULATED)

    @property
    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of each stage's code."""
        return {stage: code.fingerprint for stage, code in self.code.items()}


def read_locks(read_file: Callable[[str], bytes]) -> Recorded | None:
    """Return the record in the lock files, which `read_file` reads by name; None if it has no training of the network.

    `read_file` raises OSError or UserError for a missing file. The simulation counts only if the data are simulated.
    """
    try:
        return _recorded(read_stages(read_file), read_file)
    except (LookupError, AttributeError, TypeError):  # damaged, or not written by DVC
        return None


def read_stages(read_file: Callable[[str], bytes]) -> dict[str, dvc_lock.Stage]:
    """Return the stages of all lock files; none of one that is missing or damaged. `read_file` is as for `read_locks`."""
    stages: dict[str, dvc_lock.Stage] = {}
    for name in LOCK_FILES:
        with contextlib.suppress(OSError, UserError):
            stages |= dvc_lock.parse(read_file(str(name)))
    return stages


def of_folder(folder: Path) -> Recorded | None:
    """Return the record in the lock files of the project in `folder`; None as `read_locks`."""
    return read_locks(lambda name: (folder / name).read_bytes())


def evaluated_group(made: Recorded | None, read_file: Callable[[str], bytes]) -> str:
    """Return the key of the group of seeds of the training `made`; empty if the results of seeds are none of its test set.

    They are those that seeds/dvc.lock records, and have to be of the present code. `read_file` is as for `read_locks`.
    """
    with contextlib.suppress(OSError, UserError, *DAMAGES):
        ran = dvc_lock.parse(read_file(str(SEEDS / LOCK_FILE)))["evaluate"]
        code = Code.from_json(read_file(str(fingerprint.file_of("seeds"))))
        test = str(PREPARED / "test.h5")
        if made and ran.code == code.fingerprint and ran.deps.get(f"../{test}") == made.data[test]:
            return made.group
    return ""


def group_in(folder: Path) -> str:
    """Return the key of `evaluated_group` of the results in a project's folder."""
    return evaluated_group(of_folder(folder), lambda name: (folder / name).read_bytes())


def differing(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str | None]]:
    """Return the parameters that are not the same in all tables, with each table's value as text, None where it has none."""
    rows: dict[str, dict[str, str | None]] = {}
    for name in dict.fromkeys(name for params in tables.values() for name in params):
        rows[name] = {one: str(params[name]) if name in params else None for one, params in tables.items()}
    return {name: row for name, row in rows.items() if len(set(row.values())) > 1}


def differing_params(runs: Mapping[str, Recorded]) -> dict[str, dict[str, str | None]]:
    """Return the parameters that differ between runs, as `differing`; those of the simulation only if all runs record it.

    A run in MLflow has it as the hash of the data, and data of another origin have none.
    """
    simulated = all("simulate" in run.code for run in runs.values())
    tables = {
        name: {key: value for key, value in run.params.items() if simulated or not key.startswith("simulate.")}
        for name, run in runs.items()
    }
    return differing(tables)


def changed(runs: Sequence[Recorded]) -> tuple[list[str], list[str]]:
    """Return the data (by path) and the code (as `changed_code`) that all runs come from and that are not the same for all."""
    data = [{path: md5 for path, md5 in run.data.items() if path.startswith("data/")} for run in runs]  # no results
    common = [path for path in data[0] if all(path in table for table in data)] if data else []
    code = dict.fromkeys(name for run in runs[1:] for name in changed_code(runs[0].code, run.code))
    return [path for path in common if len({table[path] for table in data}) > 1], list(code)


def changed_code(one: Mapping[str, Code], other: Mapping[str, Code]) -> list[str]:
    """Return the modules and libraries that differ in a stage that both have; the stage where these are not recorded."""
    names: dict[str, None] = {}
    for stage, code in one.items():
        if stage in other and code.fingerprint != other[stage].fingerprint:
            names |= dict.fromkeys(code.differing(other[stage]) or [f"stage {stage}"])
    return list(names)


def _recorded(stages: Mapping[str, dvc_lock.Stage], read_file: Callable[[str], bytes]) -> Recorded:
    params: dict[str, Any] = {}
    hashes: dict[str, str] = {}
    ran = {name: stages[name] for name in DECIDING if name in stages}
    for stage in ran.values():
        for name, value in stage.params.items():
            params |= flatten(value, name)
        hashes |= stage.deps | stage.outs
    if params["data.raw"] != str(SIMULATED):
        params = {name: value for name, value in params.items() if not name.startswith("simulate.")}
        hashes.pop(str(SIMULATED), None)
        ran.pop("simulate", None)
    code = {name: recorded_code(name, stage.code, read_file) for name, stage in ran.items()}
    train = Lineage(stages["train"].params, stages["train"].deps, code["train"])
    return Recorded(train.key, params, hashes, code, train.group)
