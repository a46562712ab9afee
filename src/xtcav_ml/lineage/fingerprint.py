"""What decides the bytes that a program writes, as one hash: the definitions that it uses, and its libraries' versions.

`used_code` finds the definitions. This module hashes them and keeps the hashes in code/*.json.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xtcav_ml.config.paths import STAGES
from xtcav_ml.lineage.used_code import Package, digest
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError

PACKAGE = Path(__file__).parents[1]
LOCK = Path("requirements.txt")
FOLDER = Path("code")
"""Where `write_codes` keeps a file for each program, which git tracks: `git diff code/train.json` names the changes."""

PROGRAMS = {stage: (f"cli.{stage}:{stage}",) for stage in ("validate", *STAGES)} | {
    "notes-data": ("notes2016.shots:write_data",),
    "notes-train": ("notes2016.training:train_experiment", "notes2016.experiments:train_params"),
    "notes-measure": ("notes2016.configurations:measure_all",),
}
"""The functions (module:definition) that a program runs: a stage, or one of the three steps of `xtcav experiment`."""

INERT_LIBRARIES = {
    "pydantic": "it checks the parameters, and hands on those of params.yaml",
    "ruamel": "it reads params.yaml by the rules of YAML 1.2, as DVC does with the same library",
    "rich": "what is shown while a stage runs",
}
BRINGS = {"keras": ("tensorflow",), "numba": ("llvmlite",), "matplotlib": ("pillow",)}  # that compute for another one
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}  # whose import has another name


@dataclass(frozen=True)
class Code:
    """The code of a program. `modules` and `libraries` name what differs where two fingerprints do."""

    fingerprint: str
    libraries: Mapping[str, str] = field(default_factory=dict)  # versions, as locked
    modules: Mapping[str, str] = field(default_factory=dict)  # a hash of what is used of each

    @classmethod
    def from_json(cls, text: str | bytes) -> "Code":
        """Return the code that a file of `write_codes` holds. Raises ValueError or TypeError if the file is damaged."""
        return cls(**json.loads(text))

    def differing(self, other: "Code") -> list[str]:
        """Return the modules, and the libraries with both versions, that differ; none where one has no modules."""
        if not (self.modules and other.modules):
            return []
        modules = [name for name, *_ in _differing(self.modules, other.modules)]
        return modules + [f"{name} ({one}, {two})" for name, one, two in _differing(self.libraries, other.libraries)]


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[tuple[str, str, str]]:
    rows = [(name, one.get(name, "none"), other.get(name, "none")) for name in sorted(one.keys() | other.keys())]
    return [row for row in rows if row[1] != row[2]]


def code_of(package: Package, entries: Iterable[str], versions: Mapping[str, str]) -> Code:
    """Return the code of the program that begins with `entries` (module:definition), with the locked `versions` of libraries.

    Raises LookupError if there is no such definition.
    """
    used = package.reached((module, name) for module, _, name in (entry.partition(":") for entry in entries))
    modules: dict[str, list[str]] = {}
    for (module, _), definition in used.items():
        modules.setdefault(module, []).append(definition.digest)
    imported = {name for definition in used.values() for name in definition.libraries}
    libraries = _deciding(imported - sys.stdlib_module_names - INERT_LIBRARIES.keys(), versions)
    # with what is used: two definitions of one name in two modules that are both used may not change places unseen
    edges = [[one.digest, *(used[use].digest for use in one.uses if use in used)] for one in used.values()]
    return Code(
        digest(json.dumps([sorted(edges), sorted(libraries.items())]))[:32],
        libraries,
        {name: digest(" ".join(sorted(digests)))[:16] for name, digests in modules.items()},
    )


def file_of(program: str) -> Path:
    """Return the file that `write_codes` keeps for a program."""
    return FOLDER / f"{program}.json"


def present_code(program: str, workspace: Path = Path()) -> Code:
    """Return the code of a program as it would run now, with the versions locked in `workspace`.

    Raises UserError if there is no lock, LookupError if a function of PROGRAMS does not exist.
    """
    return code_of(Package(PACKAGE), PROGRAMS[program], locked_versions(workspace / LOCK))


def write_codes(workspace: Path = Path()) -> list[str]:
    """Write the code of each program to its file if it changed; returns the programs with another fingerprint.

    Raises as `present_code`.
    """
    package, versions, changed = Package(PACKAGE), locked_versions(workspace / LOCK), []
    for program, entries in PROGRAMS.items():
        path, now = workspace / file_of(program), code_of(package, entries, versions)
        before = read_code(path)
        if before != now:
            atomic.write_json(path, vars(now))
        if before is None or before.fingerprint != now.fingerprint:
            changed.append(program)
    return changed


def read_code(path: Path) -> Code | None:
    """Return the code that a file of `write_codes` holds; None if the file is missing or damaged."""
    try:
        return Code.from_json(path.read_bytes())
    except (OSError, ValueError, TypeError):
        return None


def locked_versions(path: Path) -> dict[str, str]:
    """Return the version of each distribution in a requirements file. Raises UserError if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read (found {error.strerror!r}, expected the locked versions). Fix: git checkout {path}"
        ) from None
    pairs = re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pairs}


def _deciding(names: set[str], versions: Mapping[str, str]) -> dict[str, str]:
    """Return the versions of these libraries and of those that compute for them, except libraries that are not locked."""
    names = names.union(*(BRINGS.get(name, ()) for name in names))
    distributions = sorted(DISTRIBUTIONS.get(name, name.replace("_", "-")).lower() for name in names)
    return {name: versions[name] for name in distributions if name in versions}
