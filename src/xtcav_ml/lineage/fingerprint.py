"""What decides the bytes that a program writes, as one hash: the definitions that it uses, and its libraries' versions.

It starts from the functions of PROGRAMS and follows the names that they load: definitions of their module, names that it
imports, attributes of modules that it imports; a class counts as a whole, and so does a module that is handed on as an object.
Statements of a module that are no definition, no import and no plain assignment always count. What a person reads does not:
comments, docstrings, layout, what is printed, the wording of errors, the description of a parameter. Neither does the module in
which a definition lies, so that moving it changes nothing.
"""

import ast
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xtcav_ml.config.paths import STAGES
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError

PACKAGE = Path(__file__).parents[1]
LOCK = Path("requirements.txt")
FOLDER = Path("code")
"""Where `write` keeps a file for each program, which git tracks: `git diff code/train.json` names what changed."""

PROGRAMS = {stage: (f"cli.{stage}:{stage}",) for stage in ("validate", *STAGES)} | {
    "notes-data": ("notes2016.shots:write_data",),
    "notes-train": ("notes2016.training:train_experiment", "notes2016.experiments:train_params"),
    "notes-measure": ("notes2016.configurations:measure_all",),
}
"""What a stage runs, as module:definition; `xtcav experiment` runs one of three."""

INERT = {
    "tracking": "what is logged of a stage: no stage can import it",
    "system.progress": "what is shown while a stage runs",
    "system.errors": "what is shown when it fails",
    "system.interrupts": "when it stops: what is written is whole or not there",
    "system.child_process": "which processes do the work and when they end",
}
"""Modules and rooms that are not followed, and why they cannot change a byte."""

INERT_LIBRARIES = {
    "pydantic": "it checks the parameters, and hands on those of params.yaml",
    "ruamel": "it reads params.yaml by the rules of YAML 1.2, as DVC does with the same library",
    "rich": "what is shown while a stage runs",
}
BRINGS = {"keras": ("tensorflow",), "numba": ("llvmlite",), "matplotlib": ("pillow",)}
"""Libraries that compute for another one."""

DESCRIPTIONS = ("description", "json_schema_extra", "meaning", "unit")
"""Arguments of a parameter's definition that are for people."""

DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}
"""Where the lock has another name than the import."""

Use = tuple[str, str]
"""Module and name of a definition; the name is "" for the module as an object, and ALWAYS for what always counts of it."""

ALWAYS = "(statements)"


@dataclass(frozen=True)
class Code:
    """The code of a program. `modules` and `libraries` name what differs where two fingerprints do."""

    fingerprint: str
    libraries: Mapping[str, str] = field(default_factory=dict)  # versions, as locked
    modules: Mapping[str, str] = field(default_factory=dict)  # a hash of what is used of each

    @classmethod
    def from_json(cls, text: str | bytes) -> "Code":
        """Return what `to_json` wrote. Raises ValueError, KeyError or TypeError if it did not."""
        return cls(**json.loads(text))

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts and text."""
        return asdict(self)

    def differing(self, other: "Code") -> list[str]:
        """Return the modules, and the libraries with both versions, that differ; none where one of them is not known."""
        if not (self.modules and other.modules):
            return []
        modules = [name for name, *_ in _differing(self.modules, other.modules)]
        libraries = [f"{name} ({one}, {two})" for name, one, two in _differing(self.libraries, other.libraries)]
        return modules + libraries


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[tuple[str, str, str]]:
    names = sorted(one.keys() | other.keys())
    rows = [(name, one.get(name, "none"), other.get(name, "none")) for name in names]
    return [row for row in rows if row[1] != row[2]]


def file_of(program: str) -> Path:
    """Return the file that `write` keeps for a program."""
    return FOLDER / f"{program}.json"


def of(program: str, workspace: Path = Path()) -> Code:
    """Return the code of a program as it would run now, with the versions locked in `workspace`.

    Raises UserError if there is no lock, LookupError if PROGRAMS names what is not there.
    """
    return Package(PACKAGE).code(PROGRAMS[program], locked(workspace / LOCK))


def write(workspace: Path = Path()) -> list[str]:
    """Write the code of every program to its file if it changed; returns whose fingerprint did. Raises as `of`."""
    package, versions, changed = Package(PACKAGE), locked(workspace / LOCK), []
    for program, entries in PROGRAMS.items():
        path, now = workspace / file_of(program), package.code(entries, versions)
        before = read(path)
        if before != now:
            atomic.write_json(path, now.to_json())
        if before is None or before.fingerprint != now.fingerprint:
            changed.append(program)
    return changed


def read(path: Path) -> Code | None:
    """Return the code that a file of `write` holds; None if it is not there, or not whole."""
    try:
        return Code.from_json(path.read_bytes())
    except (OSError, ValueError, KeyError, TypeError):
        return None


def locked(path: Path) -> dict[str, str]:
    """Return the version of each distribution in a requirements file. Raises UserError if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read (found {error.strerror!r}, expected the locked versions). Fix: git checkout {path}"
        ) from None
    pairs = re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pairs}


@dataclass
class _Unit:
    """One definition: a hash of its own text, and what it uses, in the order of use."""

    digest: str
    uses: list[Use]
    libraries: set[str]
    imported: set[str]  # modules that it imports inside


class Package:
    """The sources of a package below a folder; each definition is read once, and only if it is used."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name
        self._modules: dict[str, _Module] = {}
        self._units: dict[Use, _Unit] = {}

    def code(self, entries: Iterable[str], versions: Mapping[str, str]) -> Code:
        """Return the code of the program that begins with `entries` (module:definition), with the `versions` of libraries.

        Raises LookupError if there is no such definition.
        """
        units = self._reached([(module, name) for module, _, name in (entry.partition(":") for entry in entries)])
        modules: dict[str, list[str]] = {}
        for (module, _), unit in units.items():
            modules.setdefault(module, []).append(unit.digest)
        libraries = _deciding(units.values(), versions)
        # with what is used: two definitions of one name in two modules that are both used may not change places unseen
        edges = [[unit.digest, *(units[use].digest for use in unit.uses if use in units)] for unit in units.values()]
        return Code(
            _hash(json.dumps([sorted(edges), sorted(libraries.items())]))[:32],
            libraries,
            {name: _hash(" ".join(sorted(digests)))[:16] for name, digests in modules.items()},
        )

    def has_module(self, name: str) -> bool:
        """Return whether there is a module of this dotted name."""
        return self._path(name).is_file()

    def module(self, name: str) -> "_Module":
        """Return a module by its dotted name, without that of the package."""
        if name not in self._modules:
            self._modules[name] = _Module.of(ast.parse(self._path(name).read_bytes()))
        return self._modules[name]

    def find(self, dotted: str) -> tuple[Use | str, str] | None:
        """Return the definition, or the outside name, that `dotted` stands for, and the attributes that follow.

        None for a folder of the package, or a name that is bound by one of the statements that always count.
        """
        top, _, rest = dotted.partition(".")
        if top != self.name:
            return dotted, ""
        parts = rest.split(".")
        for size in range(len(parts), 0, -1):
            module = ".".join(parts[:size])
            if self.has_module(module):
                break
        else:
            return None
        if size == len(parts):
            return (module, ""), ""
        name, tail = parts[size], parts[size + 1 :]
        inside = self.module(module)
        if name in inside.definitions:
            return (module, name), ".".join(tail)
        return self.find(".".join([inside.imports[name], *tail])) if name in inside.imports else None

    def _path(self, module: str) -> Path:
        return self.folder.joinpath(*module.split(".")).with_suffix(".py")

    def _reached(self, entries: list[Use]) -> dict[Use, _Unit]:
        """Return the definitions that `entries` use, directly or not, and these, in no order."""
        reached: dict[Use, _Unit] = {}
        loaded: set[str] = set()
        waiting = list(entries)
        while waiting:
            module, name = use = waiting.pop()
            if use in reached or {module, module.partition(".")[0]} & INERT.keys():
                continue
            if module not in loaded:  # importing it runs its statements, and imports what it imports
                loaded.add(module)
                waiting += [(module, ALWAYS), *((other, ALWAYS) for other in self._imports(module))]
            if name == "":
                waiting += [(module, each) for each in self.module(module).definitions]
                continue
            reached[use] = unit = self._unit(use)
            waiting += [*unit.uses, *((other, ALWAYS) for other in unit.imported)]
        return {use: unit for use, unit in reached.items() if use[1] != ALWAYS or unit.digest != _NOTHING}

    def _imports(self, module: str) -> Iterator[str]:
        for dotted in self.module(module).imports.values():
            found = self.find(dotted)
            if found is not None and not isinstance(found[0], str):
                yield found[0][0]
            parts = dotted.split(".")
            if parts[0] == self.name and self.has_module(
                ".".join(parts[1:-1])
            ):  # of a name in it, wherever that comes from
                yield ".".join(parts[1:-1])

    def _unit(self, use: Use) -> _Unit:
        if use not in self._units:
            module, name = use
            statements = self.module(module).always if name == ALWAYS else self.module(module).definitions[name]
            self._units[use] = _Reader(self, module).read(statements)
        return self._units[use]


@dataclass
class _Module:
    """A module's statements by kind."""

    definitions: dict[str, list[ast.stmt]]
    imports: dict[str, str]  # name -> what it stands for, dotted
    always: list[ast.stmt]

    @classmethod
    def of(cls, tree: ast.Module) -> "_Module":
        module = cls({}, {}, [])
        for statement in tree.body:
            names = _defined(statement)
            for name in names:
                module.definitions.setdefault(name, []).append(statement)
            if not names and not isinstance(statement, ast.Import | ast.ImportFrom) and not _read_by_people(statement):
                module.always.append(statement)
            module.imports |= _imported(statement)
        return module


def _defined(statement: ast.stmt) -> list[str]:
    """Return the names that a definition, or an assignment to plain names, gives."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    if isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    flat = [each for target in targets for each in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return (
        [each.id for each in flat if isinstance(each, ast.Name)]
        if all(isinstance(each, ast.Name) for each in flat)
        else []
    )


def _imported(statement: ast.stmt) -> dict[str, str]:
    """Return the names that imports in a statement bind, those in functions left out, and what they stand for."""
    found: dict[str, str] = {}
    for node in _inside([statement]):
        if isinstance(node, ast.Import):
            tops = [each.name.partition(".")[0] for each in node.names]
            found |= {
                each.asname or top: each.name if each.asname else top
                for each, top in zip(node.names, tops, strict=True)
            }
        elif isinstance(node, ast.ImportFrom):
            found |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    return found


_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def _inside(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Give all nodes of one scope: those of functions, classes and comprehensions in it are left out, but not these."""
    for node in nodes:
        yield node
        if not isinstance(node, _SCOPES + _COMPREHENSIONS):
            yield from _inside(ast.iter_child_nodes(node))


def _bound(body: Iterable[ast.AST]) -> dict[str, str | None]:
    """Return the names that are variables of a function, None for each, or what it imports under them."""
    names: dict[str, str | None] = {}
    outer: set[str] = set()
    for node in _inside(body):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names[node.id] = None
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.ExceptHandler | ast.MatchAs):
            names |= {node.name: None} if node.name else {}
        elif isinstance(node, ast.Global | ast.Nonlocal):
            outer |= set(node.names)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= _imported(node)
    return {name: target for name, target in names.items() if name not in outer}


def _read_by_people(node: ast.AST) -> bool:
    """Return whether a statement is only text, or only prints."""
    if not isinstance(node, ast.Expr):
        return False
    if isinstance(node.value, ast.Call):
        called = getattr(node.value.func, "attr", getattr(node.value.func, "id", None))
        return called == "print" and all(keyword.arg != "file" for keyword in node.value.keywords)
    return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


class _Reader:
    """Reads one definition: `parts` is its syntax tree as text, in which each name stands for what it means."""

    def __init__(self, package: Package, module: str) -> None:
        self.package, self.module = package, module
        self.parts: list[str] = []
        self.unit = _Unit("", [], set(), set())

    def read(self, statements: Iterable[ast.stmt]) -> _Unit:
        for statement in statements:
            self._node(statement, {})
        self.unit.digest = _hash("".join(self.parts))
        return self.unit

    def _node(self, node: Any, scope: Mapping[str, str | None]) -> None:
        if isinstance(node, list):
            self.parts.append("[")
            for each in node:
                self._node(each, scope)
            self.parts.append("]")
        elif not isinstance(node, ast.AST):
            self.parts.append(f"{node!r},")
        elif not _read_by_people(node):
            special = getattr(self, f"_{type(node).__name__.lower()}", None)
            (special or self._fields)(node, scope)

    def _fields(self, node: ast.AST, scope: Mapping[str, str | None], without: tuple[str, ...] = ()) -> None:
        self.parts.append(f"{type(node).__name__}(")
        for name, value in ast.iter_fields(node):
            if name not in ("ctx", "kind", "type_comment", *without):
                self._node(value, scope)
        self.parts.append(")")

    def _name(self, node: ast.Name, scope: Mapping[str, str | None]) -> None:
        if not (isinstance(node.ctx, ast.Load) and self._means(node.id, [], scope)):
            self.parts.append(f"{node.id},")

    def _attribute(self, node: ast.Attribute, scope: Mapping[str, str | None]) -> None:
        attributes, root = [node.attr], node.value
        while isinstance(root, ast.Attribute):
            attributes.insert(0, root.attr)
            root = root.value
        if not (isinstance(root, ast.Name) and self._means(root.id, attributes, scope)):
            self._fields(node, scope)

    def _means(self, name: str, attributes: list[str], scope: Mapping[str, str | None]) -> bool:
        """Write what a name with attributes stands for, and note that it is used; False if it is a variable or a builtin."""
        inside = self.package.module(self.module)
        if name in scope:
            target = scope[name]
        elif name in inside.definitions:
            target = f"{self.package.name}.{self.module}.{name}"
        else:
            target = inside.imports.get(name)
        found = self.package.find(".".join([target, *attributes])) if target else None
        if found is None:
            return False
        meant, rest = found
        if isinstance(meant, str):
            self.unit.libraries.add(meant.partition(".")[0])
            self.parts.append(f"{meant},")
        else:
            if meant not in self.unit.uses:
                self.unit.uses.append(meant)
            self.parts.append(f"{meant[1] or 'module'}.{rest},")
        return True

    def _import(self, node: ast.Import | ast.ImportFrom, scope: Mapping[str, str | None]) -> None:
        """An import says nothing by itself; one of a module of the package runs that module's statements."""
        for dotted in _imported(node).values():
            top, _, rest = dotted.partition(".")
            if top == self.package.name:
                names = (rest, rest.rpartition(".")[0])
                self.unit.imported |= {name for name in names if name and self.package.has_module(name)}
            else:
                self.unit.libraries.add(top)

    _importfrom = _import

    def _functiondef(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Mapping[str, str | None]) -> None:
        self._fields(node, scope, without=("body",))
        self._node(node.body, {**scope, **_arguments(node.args), **_bound(node.body)})

    _asyncfunctiondef = _functiondef

    def _lambda(self, node: ast.Lambda, scope: Mapping[str, str | None]) -> None:
        self._fields(node, scope, without=("body",))
        self._node(node.body, {**scope, **_arguments(node.args)})

    def _listcomp(self, node: Any, scope: Mapping[str, str | None]) -> None:
        self._node(
            node.generators[0].iter, scope
        )  # it is no part of the scope, and may have a name that is bound there
        self._fields(node, {**scope, **_bound(generator.target for generator in node.generators)})

    _setcomp = _dictcomp = _generatorexp = _listcomp

    def _raise(self, node: ast.Raise, scope: Mapping[str, str | None]) -> None:
        """Write what is raised, without the words."""
        if not isinstance(node.exc, ast.Call):
            self._fields(node, scope, without=("cause",))
            return
        self._node(node.exc.func, scope)
        values = [*node.exc.args, *(keyword.value for keyword in node.exc.keywords)]
        self._node([value for value in values if not _words(value)], scope)

    def _call(self, node: ast.Call, scope: Mapping[str, str | None]) -> None:
        """Write a call; of a parameter's definition (`config.base.parameter`, pydantic's Field) without meaning and unit."""
        called = getattr(node.func, "id", None)
        arguments = [] if called == "parameter" else node.args
        shown = DESCRIPTIONS if called in ("parameter", "Field") else ()
        kept = [keyword for keyword in node.keywords if keyword.arg not in shown]
        self._fields(ast.Call(node.func, arguments, kept), scope)


def _words(value: ast.expr) -> bool:
    """Return whether a value is text, put together or plain."""
    if isinstance(value, ast.BinOp):
        return _words(value.left) or _words(value.right)
    return isinstance(value, ast.JoinedStr) or (isinstance(value, ast.Constant) and isinstance(value.value, str))


def _arguments(arguments: ast.arguments) -> dict[str, str | None]:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return {argument.arg: None for argument in every if argument is not None}


def _deciding(units: Iterable[_Unit], versions: Mapping[str, str]) -> dict[str, str]:
    """Return the versions of the libraries that decide what these definitions compute; one that is not locked is left out."""
    names = {name for unit in units for name in unit.libraries} - sys.stdlib_module_names - INERT_LIBRARIES.keys()
    names |= {brought for name in names for brought in BRINGS.get(name, ())}
    distributions = sorted(DISTRIBUTIONS.get(name, name.replace("_", "-")).lower() for name in names)
    return {name: versions[name] for name in distributions if name in versions}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


_NOTHING = _hash("")
