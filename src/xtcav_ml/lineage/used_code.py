"""The definitions that a program uses, each as a hash of its syntax tree in which every name stands for its definition.

It starts from the program's functions and follows the names that they load: definitions of their module, names that it imports,
attributes of modules that it imports. A class counts as a whole, and so does a module that is passed on as an object.
Statements of a module that are no definition, no import and no plain assignment always count. Text for people does not:
comments, docstrings, layout, what is printed, the wording of errors, the description of a parameter. Neither does the module in
which a definition lies, so that moving it changes nothing.
"""

import ast
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

INERT = {
    "tracking": "what is logged of a stage: no stage can import it",
    "system.progress": "what is shown while a stage runs",
    "system.errors": "what is shown when it fails",
    "system.interrupts": "when it stops: what is written is whole or not there",
    "system.parent_process": "when a process ends: what is written is whole or not there",
    "system.one_writer": "which of two processes writes first",
    "system.child_process": "which processes do the work and when they end",
    "system.cluster": "whether workers can be had",
    "pipeline.by_workers": "which processes do the work: they write what one would",
    "pipeline.kept": "it returns what would be made, bit for bit, or nothing: its names hash all that decides that",
    "learning.rules": "what is refused: all its functions return nothing or the memory that a rule compares with a limit",
    "learning.checkpoint": "it returns what `fit` gave it, bit for bit, or nothing: its FORMAT changes with its layout",
    "science.warning_signs": "what is printed about an epoch",
}
"""Modules and rooms that are not followed, and why they cannot change a byte."""

DESCRIPTIONS = ("description", "json_schema_extra", "meaning", "unit")  # of a parameter: arguments for people

Use = tuple[str, str]
"""Module and name of a definition; the name is "" for the module as an object, ALWAYS for its statements that always count."""

ALWAYS = "(statements)"

Scope = Mapping[str, str | None]
"""Variables of the surrounding functions: None, or the dotted name that they import as this variable."""


def digest(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


class Package:
    """The sources of a package below a folder; each definition is read once, and only if it is used."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        # by the module's dotted name, without that of the package
        self.files = {".".join(path.relative_to(folder).with_suffix("").parts): path for path in folder.rglob("*.py")}
        self._modules: dict[str, _Module] = {}
        self._definitions: dict[Use, Definition] = {}

    def module(self, name: str) -> "_Module":
        """Return a module by its dotted name, without that of the package."""
        if name not in self._modules:
            self._modules[name] = _Module(ast.parse(self.files[name].read_bytes()))
        return self._modules[name]

    def imported(self, dotted: str) -> set[str]:
        """Return the modules whose statements run when `dotted`, a module of the package or a name in one, is imported."""
        top, _, rest = dotted.partition(".")
        names = {rest, rest.rpartition(".")[0]} if top == self.name else set()
        return names & self.files.keys()

    def find(self, dotted: str) -> tuple[Use | str, str] | None:
        """Return the definition, or the name outside the package, that `dotted` stands for, and the attributes that follow.

        None for a folder of the package, or a name that is bound by one of the statements that always count.
        """
        top, *parts = dotted.split(".")
        if top != self.name:
            return dotted, ""
        size = next((size for size in range(len(parts), 0, -1) if ".".join(parts[:size]) in self.files), 0)
        if not size:
            return None
        module = ".".join(parts[:size])
        if size == len(parts):
            return (module, ""), ""
        content, (name, *attributes) = self.module(module), parts[size:]
        if name in content.definitions:
            return (module, name), ".".join(attributes)
        return self.find(".".join([content.imports[name], *attributes])) if name in content.imports else None

    def reached(self, entries: Iterable[Use], inert: Collection[str] = INERT.keys()) -> dict[Use, "Definition"]:
        """Return `entries` and all definitions that they use, but in `inert`. Raises LookupError if one is missing."""
        reached: dict[Use, Definition] = {}
        loaded: set[str] = set()
        waiting = list(entries)
        while waiting:
            module, name = use = waiting.pop()
            if use in reached or {module, module.partition(".")[0]} & set(inert):
                continue
            content = self.module(module)
            if module not in loaded:  # importing it runs its statements, and imports what it imports
                loaded.add(module)
                imports = (other for dotted in content.imports.values() for other in self.imported(dotted))
                waiting += [(each, ALWAYS) for each in (module, *imports)]
            if name == "":
                waiting += [(module, each) for each in content.definitions]
                continue
            if use not in self._definitions:
                statements = content.always if name == ALWAYS else content.definitions[name]
                self._definitions[use] = Definition(self, module, statements)
            reached[use] = definition = self._definitions[use]
            waiting += [*definition.uses, *((other, ALWAYS) for other in definition.imported)]
        return {use: found for use, found in reached.items() if use[1] != ALWAYS or found.digest != digest("")}


class _Module:
    """A module's statements by kind."""

    def __init__(self, tree: ast.Module) -> None:
        self.definitions: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, str] = {}  # the dotted name that each name stands for
        self.always: list[ast.stmt] = []
        for statement in tree.body:
            names = _defined(statement)
            for name in names:
                self.definitions.setdefault(name, []).append(statement)
            if not names and not isinstance(statement, ast.Import | ast.ImportFrom) and not _read_by_people(statement):
                self.always.append(statement)
            self.imports |= _imported(statement)


def _defined(statement: ast.stmt) -> list[str]:
    """Return the names that a definition, or an assignment to plain names, binds."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            flat = [each for target in targets for each in (target.elts if isinstance(target, ast.Tuple) else [target])]
        case ast.AnnAssign(target=target):
            flat = [target]
        case _:
            return []
    names = [each.id for each in flat if isinstance(each, ast.Name)]
    return names if len(names) == len(flat) else []


def _imported(statement: ast.AST) -> dict[str, str]:
    """Return the names that imports in a statement bind, except those in functions, and the dotted names they stand for."""
    imports: dict[str, str] = {}
    for node in _scope_nodes([statement]):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                if isinstance(node, ast.ImportFrom):
                    dotted = f"{node.module}.{alias.name}"
                else:
                    dotted = alias.name if alias.asname else alias.name.partition(".")[0]
                imports[alias.asname or dotted.rpartition(".")[2]] = dotted
    return imports


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def _scope_nodes(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield all nodes of one scope: functions, classes and comprehensions in it, but not the nodes inside them."""
    for node in nodes:
        yield node
        if not isinstance(node, (*_DEFINITIONS, *_COMPREHENSIONS)):
            yield from _scope_nodes(ast.iter_child_nodes(node))


def _bound(body: Iterable[ast.AST]) -> dict[str, str | None]:
    """Return the variables of a function: None for each, or the dotted name that it imports as this variable."""
    names: dict[str, str | None] = {}
    outer: set[str] = set()
    for node in _scope_nodes(body):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names[node.id] = None
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.ExceptHandler | ast.MatchAs):
            names |= {node.name: None} if node.name else {}
        elif isinstance(node, ast.Global | ast.Nonlocal):
            outer |= set(node.names)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= _imported(node)
    return {name: dotted for name, dotted in names.items() if name not in outer}


def _read_by_people(node: ast.AST) -> bool:
    """Return whether a statement is only text, or only prints."""
    if not isinstance(node, ast.Expr):
        return False
    if isinstance(node.value, ast.Call):
        function = getattr(node.value.func, "attr", getattr(node.value.func, "id", None))
        return function == "print" and all(keyword.arg != "file" for keyword in node.value.keywords)
    return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


class Definition:
    """The digest of one definition's syntax tree, in which each name stands for its definition, and what it uses."""

    def __init__(self, package: Package, module: str, statements: Iterable[ast.stmt]) -> None:
        self.uses: dict[Use, None] = {}  # in the order of use
        self.libraries: set[str] = set()
        self.imported: set[str] = set()  # modules of the package that it imports inside
        self._package, self._module = package, module
        self._tokens: list[str] = []
        for statement in statements:
            self._node(statement, {})
        self.digest = digest("".join(self._tokens))

    def _node(self, node: Any, scope: Scope) -> None:
        if isinstance(node, list):
            self._tokens.append("[")
            for each in node:
                self._node(each, scope)
            self._tokens.append("]")
        elif not isinstance(node, ast.AST):
            self._tokens.append(f"{node!r},")
        elif not _read_by_people(node):
            getattr(self, f"_{type(node).__name__.lower()}", self._fields)(node, scope)

    def _fields(self, node: ast.AST, scope: Scope, without: str = "") -> None:
        self._tokens.append(f"{type(node).__name__}(")
        for name, value in ast.iter_fields(node):
            if name not in ("ctx", "kind", "type_comment", without):
                self._node(value, scope)
        self._tokens.append(")")

    def _name(self, node: ast.Name, scope: Scope) -> None:
        if not (isinstance(node.ctx, ast.Load) and self._resolved(node.id, [], scope)):
            self._tokens.append(f"{node.id},")

    def _attribute(self, node: ast.Attribute, scope: Scope) -> None:
        attributes, root = [node.attr], node.value
        while isinstance(root, ast.Attribute):
            attributes.insert(0, root.attr)
            root = root.value
        if not (isinstance(root, ast.Name) and self._resolved(root.id, attributes, scope)):
            self._fields(node, scope)

    def _resolved(self, name: str, attributes: list[str], scope: Scope) -> bool:
        """Write what a name with attributes stands for, and note its use; return False for a variable or a builtin."""
        content = self._package.module(self._module)
        if name in scope:
            dotted = scope[name]
        elif name in content.definitions:
            dotted = f"{self._package.name}.{self._module}.{name}"
        else:
            dotted = content.imports.get(name)
        target = self._package.find(".".join([dotted, *attributes])) if dotted else None
        if target is None:
            return False
        use, rest = target
        if isinstance(use, str):
            self.libraries.add(use.partition(".")[0])
            self._tokens.append(f"{use},")
        else:
            self.uses.setdefault(use)
            self._tokens.append(f"{use[1] or 'module'}.{rest},")
        return True

    def _import(self, node: ast.Import | ast.ImportFrom, scope: Scope) -> None:
        """Write nothing for an import; one of a module of the package runs that module's statements."""
        for dotted in _imported(node).values():
            self.imported |= self._package.imported(dotted)
            self.libraries |= {dotted.partition(".")[0]} - {self._package.name}

    _importfrom = _import

    def _functiondef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, scope: Scope) -> None:
        self._fields(node, scope, without="body")
        arguments = {each.arg: None for each in ast.iter_child_nodes(node.args) if isinstance(each, ast.arg)}
        body = node.body if isinstance(node.body, list) else [node.body]
        self._node(node.body, {**scope, **arguments, **_bound(body)})

    _asyncfunctiondef = _lambda = _functiondef

    def _listcomp(self, node: Any, scope: Scope) -> None:
        self._node(node.generators[0].iter, scope)  # outside the scope: it may use a name that is bound in there
        self._fields(node, {**scope, **_bound(generator.target for generator in node.generators)})

    _setcomp = _dictcomp = _generatorexp = _listcomp

    def _raise(self, node: ast.Raise, scope: Scope) -> None:
        """Write what is raised, without the words."""
        if not isinstance(node.exc, ast.Call):
            self._fields(node, scope, without="cause")
            return
        self._node(node.exc.func, scope)
        values = [*node.exc.args, *(keyword.value for keyword in node.exc.keywords)]
        self._node([value for value in values if not _words(value)], scope)

    def _call(self, node: ast.Call, scope: Scope) -> None:
        """Write a call; of a parameter's definition (`config.base.parameter`, pydantic's Field) without meaning and unit."""
        function = getattr(node.func, "id", None)
        arguments = [] if function == "parameter" else node.args
        shown = DESCRIPTIONS if function in ("parameter", "Field") else ()
        keywords = [keyword for keyword in node.keywords if keyword.arg not in shown]
        self._fields(ast.Call(node.func, arguments, keywords), scope)


def _words(value: ast.expr) -> bool:
    """Return whether a value is text, put together or plain."""
    if isinstance(value, ast.BinOp):
        return _words(value.left) or _words(value.right)
    return isinstance(value, ast.JoinedStr) or (isinstance(value, ast.Constant) and isinstance(value.value, str))
