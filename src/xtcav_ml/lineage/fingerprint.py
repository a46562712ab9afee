"""What decides the bytes that a program writes, as one hash: the definitions that it uses, and its libraries' versions.

`used_code` finds the definitions. This module hashes them and keeps the hashes in files of a folder `code`.
"""

import functools
import importlib.metadata
import json
import re
import sys
import sysconfig
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xtcav_ml.config.paths import EXPERIMENTS, SEEDS, STAGES
from xtcav_ml.lineage import environment
from xtcav_ml.lineage.used_code import INERT, Package, digest
from xtcav_ml.system import atomic, variables
from xtcav_ml.system.errors import UserError

PACKAGE = Path(__file__).parents[1]
LOCKS = {"tensorflow": Path("requirements.txt"), "jax": Path("requirements-jax.txt")}  # by the backend
FOLDER = Path("code")
"""Of a DVC project: `write_codes` keeps a file for each program in it, which git tracks. `git diff code/` names the changes."""

STAMP = Path(".dvc/tmp/fingerprint")
"""Holds a digest of all that `write_codes` last read and wrote: where it is the same, the package need not be parsed."""

PROGRAMS = {stage: (f"cli.{stage}:{stage}",) for stage in ("validate", *STAGES)} | {
    "seeds": ("pipeline.seeds:evaluate_group",),
    "notes-validate": ("notes2016.validation:check_experiments",),
    "notes-data": ("notes2016.shots:write_data",),
    "notes-train": ("notes2016.training:train_experiment", "notes2016.experiments:train_params"),
    "notes-measure": ("notes2016.configurations:measure_all",),
}
"""The functions (module:definition) that a program runs: a stage, the evaluation of a group of seeds, or a step of `xtcav
experiment`."""

REFUSING = ("validate", "check", "notes-validate")
"""Programs that exist to refuse: what is refused (learning.rules) decides them, and no other."""

INERT_LIBRARIES = {
    "it checks the parameters, and hands on those of params.yaml": "annotated-types pydantic pydantic-core typing-inspection",
    "it reads params.yaml by the rules of YAML 1.2, as DVC does with the same library": "ruamel ruamel-yaml",
    "what is shown while a stage runs": "markdown-it-py mdurl pygments rich termcolor",
    "the network (the internet's), which no stage uses": "certifi charset-normalizer grpcio idna requests urllib3",
    "Python's syntax and types, processes, installation": "absl-py astunparse cloudpickle gast google-pasta joblib libclang "
    "namex packaging setuptools six threadpoolctl typing-extensions wheel wrapt",
    "messages and tables that are not written": "flatbuffers narwhals protobuf",
    "fonts, colours, dates and layout of pictures are matplotlib's": "cycler pyparsing python-dateutil tzdata",
}
"""Distributions by the reason why they cannot change a byte. All others count that an imported one requires."""

DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}  # whose import has another name


@dataclass(frozen=True)
class Code:
    """The code of a program. `modules` and `libraries` name what differs where two fingerprints do."""

    fingerprint: str
    libraries: Mapping[str, str] = field(default_factory=dict)  # versions, as locked, and variables that count
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


def code_of(
    package: Package, entries: Iterable[str], versions: Mapping[str, str], inert: Collection[str] = INERT.keys()
) -> Code:
    """Return the code of the program that begins with `entries` (module:definition), with the locked `versions` of libraries.

    Modules in `inert` do not count. Raises LookupError if there is no such definition.
    """
    used = package.reached([(module, name) for module, _, name in (entry.partition(":") for entry in entries)], inert)
    modules: dict[str, list[str]] = {}
    for (module, _), definition in used.items():
        modules.setdefault(module, []).append(definition.digest)
    imported = {name for definition in used.values() for name in definition.libraries}
    libraries = _deciding(imported - sys.stdlib_module_names, versions)
    libraries |= variables.counted(libraries)
    # with what is used: two definitions of one name in two modules that are both used may not change places unseen
    edges = [[one.digest, *(used[use].digest for use in one.uses if use in used)] for one in used.values()]
    return Code(
        digest(json.dumps([sorted(edges), sorted(libraries.items())]))[:32],
        libraries,
        {name: digest(" ".join(sorted(digests)))[:16] for name, digests in modules.items()},
    )


def file_of(program: str) -> Path:
    """Return the file that `write_codes` keeps for a program."""
    project = EXPERIMENTS if program.startswith("notes-") else SEEDS if program == "seeds" else Path()
    return project / FOLDER / f"{program}.json"


def present_code(program: str, workspace: Path = Path()) -> Code:
    """Return the code of a program as it would run now, with the versions locked in `workspace`.

    Raises UserError if there is no lock, LookupError if a function of PROGRAMS does not exist.
    """
    return program_code(Package(PACKAGE), program, locked_versions(workspace / lock()))


def write_codes(workspace: Path = Path()) -> list[str]:
    """Write the code of each program to its file if it changed; returns the programs with another fingerprint.

    Raises as `present_code`.
    """
    stamp, inputs = workspace / STAMP, _inputs(workspace)
    if stamp.is_file() and stamp.read_bytes() == _stamp(workspace, inputs).encode():
        return []
    package, versions, changed = Package(PACKAGE), locked_versions(workspace / lock()), []
    for program in PROGRAMS:
        path, now = workspace / file_of(program), program_code(package, program, versions)
        before = read_code(path)
        if before != now:
            atomic.write_json(path, vars(now))
        if before is None or before.fingerprint != now.fingerprint:
            changed.append(program)
    with atomic.replacing(stamp) as temporary:
        temporary.write_text(_stamp(workspace, inputs))
    return changed


def _inputs(workspace: Path) -> list[object]:
    """Return all that decides what `write_codes` writes: sources, lock, variables, and which libraries are installed."""
    contents = [(str(path), path.read_bytes()) for path in sorted(PACKAGE.rglob("*.py"))]
    installed = Path(sysconfig.get_path("purelib")).stat().st_mtime_ns
    return [
        contents,
        locked_versions(workspace / lock()),
        environment.backend(),
        variables.counted(),
        installed,
        sys.version,
    ]


def _stamp(workspace: Path, inputs: list[object]) -> str:
    paths = [workspace / file_of(program) for program in PROGRAMS]
    return digest(repr([*inputs, *(path.read_bytes() for path in paths if path.is_file())]))


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
            f"{path}: cannot be read (found {error.strerror!r}, expected the locked versions). Fix: run `git checkout {path}`"
        ) from None
    pairs = re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.MULTILINE)
    return {_distribution(name): version for name, version in pairs}


def program_code(package: Package, program: str, versions: Mapping[str, str]) -> Code:
    """Return the code of one of PROGRAMS in `package`, with the locked `versions` of libraries. Raises as `code_of`."""
    inert = INERT.keys() - ({"learning.rules"} if program in REFUSING else set())
    return code_of(package, PROGRAMS[program], versions, inert)


def lock() -> Path:
    """Return the name of the requirements file of the present backend."""
    return LOCKS.get(environment.backend(), LOCKS["tensorflow"])  # an unknown one is refused by those who use it


def _deciding(imports: set[str], versions: Mapping[str, str]) -> dict[str, str]:
    """Return the versions of these imports and of all that they require, if they are locked and not inert.

    Of the backends only the present one counts.
    """
    inert = {name for names in INERT_LIBRARIES.values() for name in names.split()}
    others = LOCKS.keys() - {environment.backend()}
    backend = {environment.backend(), *_of_gpus(versions)} if "keras" in imports else set()
    waiting = {DISTRIBUTIONS.get(name, _distribution(name)) for name in imports | backend}
    deciding: set[str] = set()
    while waiting:
        deciding |= (waiting := (waiting - inert - others) & versions.keys())
        waiting = {other for name in waiting for other in required(name)} - deciding
    return {name: versions[name] for name in sorted(deciding)}


def _of_gpus(versions: Mapping[str, str]) -> set[str]:
    """Return the locked distributions that compute on a GPU, which no other one requires without extras."""
    return {name for name in versions if re.match(r"jax-cuda|nvidia-(?!ml-py)", name)}


@functools.cache
def required(distribution: str) -> frozenset[str]:
    """Return the distributions that an installed one requires without extras; none if it is not installed."""
    try:
        text = importlib.metadata.distribution(distribution).read_text("METADATA") or ""
    except importlib.metadata.PackageNotFoundError:
        return frozenset()
    lines = re.findall(r"^Requires-Dist: ([\w.-]+)(.*)", text, re.MULTILINE)
    return frozenset(_distribution(name) for name, rest in lines if "extra ==" not in rest)


def _distribution(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
