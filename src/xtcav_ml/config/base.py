"""Reading params.yaml: strict sections, unknown keys refused, every error one line with key, problem, value and fix."""

import difflib
import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import CollectionNode

from xtcav_ml.config import yaml_problems
from xtcav_ml.config.paths import PARAMS_FILE
from xtcav_ml.system.errors import UserError, cut

MOST_BYTES, MOST_VALUES, MOST_LEVELS, MOST_BITS = 2**16, 4000, 40, 64
"""Of a file of parameters, many times what one has: bytes, values or separators, levels of nesting, bits of an integer."""

LEAST_ALIKE = 0.65  # of two names, 0 to 1, if one may be the other misspelt

UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters but tab and line feed, and halves of characters: no file can be named with them, and none be written."""


class Section(BaseModel):
    """Base of every section: immutable, no unknown key, no silent conversion (an int where a float is due is fine)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


S = TypeVar("S", bound=Section)


def parameter(meaning: str, unit: str = "", **rules: Any) -> Any:
    """Return a pydantic Field with its meaning, its unit ("1" for a pure number) and rules such as `ge=0` or `default=1`."""
    return Field(description=meaning, json_schema_extra={"unit": unit}, **rules)


class _Excess(Exception):
    """More, or other characters, than a file of parameters has."""


@functools.lru_cache(maxsize=8)
def _parsed(text: str) -> Any:
    """Return the tree of a text, parsed once: a command reads params.yaml section by section, at 0.05 s a parse."""
    _require_short(text)
    yaml = YAML(typ="safe", pure=True)
    node = yaml.compose(text)
    _require_bounded(node)
    tree = None if node is None else yaml.constructor.construct_document(node)
    _require_plain(tree)
    return tree


def _require_short(text: str) -> None:
    """Raise _Excess if a text would take the parser long: it needs time for each separator, and more for each bracket."""
    depth = deepest = 0
    for bracket in re.findall(r"[][{}]", text):
        depth = max(depth + (1 if bracket in "[{" else -1), 0)
        deepest = max(depth, deepest)
    if deepest > MOST_LEVELS or len(re.findall(r"[,:\n]", text)) > MOST_VALUES:
        raise _Excess(f"more than {MOST_VALUES:,} separators or {MOST_LEVELS} levels of brackets")


def _require_bounded(root: Any) -> None:
    """Raise _Excess if a tree of YAML nodes, with what aliases and merges repeat written out, is too large or too deep."""
    waiting, seen = [(root, 0)], 0
    while waiting:
        node, level = waiting.pop()
        seen += 1
        if seen > MOST_VALUES or level > MOST_LEVELS:
            raise _Excess(f"more than {MOST_VALUES:,} values or {MOST_LEVELS} levels")
        if isinstance(node, tuple):
            waiting += [(part, level) for part in node]
        elif isinstance(node, CollectionNode):
            waiting += [(part, level + 1) for part in node.value]


def _require_plain(tree: Any) -> None:
    """Raise _Excess if a key is no text, a text has characters that are not shown, or an integer is of no use."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str) and UNSEEN.search(node):
            raise _Excess(f"a character that is not shown in {shown(node)}")
        if isinstance(node, int) and node.bit_length() > MOST_BITS:
            raise _Excess(f"an integer of {node.bit_length():,} bits")
        if isinstance(node, dict):
            if odd := [key for key in node if not isinstance(key, str)]:
                raise _Excess(f"a key that is no text, {shown(odd[0])}")
            waiting += [part for entry in node.items() for part in entry]
        elif isinstance(node, list):
            waiting += node


def read_tree(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """Return the file as plain dicts and lists, not to be changed. YAML 1.2, in which `1e-3` is a number.

    Raises UserError if the file is missing, is not YAML, is not a mapping, or is larger than any params.yaml.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise _Excess(f"more than {MOST_BYTES:,} bytes")
        tree = _parsed(text.decode("utf-8-sig"))
    except OSError as error:
        raise UserError(
            f"{path}: not readable (found {error.strerror!r}, expected YAML). Fix: go to the project's folder"
        ) from None
    except MarkedYAMLError as error:
        raise UserError(yaml_problems.explain(error, path)) from None
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        found = f"byte {text[error.start]:#x}"
        raise UserError(
            f"{path}, line {line}: not UTF-8 (found {found}, expected text in UTF-8). Fix: save it as UTF-8"
        ) from None
    except Exception as error:  # whatever else the parser makes of it
        what = " ".join(str(error).split()).partition(" To suppress this check")[0] or type(error).__name__
        raise UserError(f"{path}: invalid YAML (found {cut(what)}, expected keys). Fix: correct it") from None
    if not isinstance(tree, dict):
        raise UserError(
            f"{path}: no sections (found {type(tree).__name__}, expected a mapping). Fix: start each section with `name:`"
        )
    return tree


def load_section(name: str, kind: type[S], path: Path = PARAMS_FILE) -> S:
    """Return section `name` of params.yaml as `kind`. Raises UserError if it is missing or breaks a rule."""
    tree = read_tree(path)
    if name not in tree:
        raise UserError(f"{path}: {name}: missing (expected a section). Fix: restore it with `git checkout {path}`")
    return validate_section(tree[name], kind, name, path)


def validate_section(value: Any, kind: type[S], name: str, path: Path = PARAMS_FILE) -> S:
    """Return `value` as `kind`; `name` is the dotted key of `value` in the file, for the error."""
    try:
        return kind.model_validate(_tuples(value))
    except ValidationError as error:
        raise UserError(
            f"{path}: " + "; ".join(_explain(e, kind, name) for e in _causes(error.errors(), kind))
        ) from None


def _causes(errors: Sequence[Any], kind: type[BaseModel]) -> list[Any]:
    """Return the errors without the missing keys that a misspelt one would be, which come first as they are the cause."""
    unknown = [error for error in errors if error["type"] == "extra_forbidden"]
    meant = {(*e["loc"][:-1], _meant(str(e["loc"][-1]), _walk(kind, _location(e)[:-1])[1])) for e in unknown}
    rest = [e for e in errors if e not in unknown and not (e["type"] == "missing" and tuple(e["loc"]) in meant)]
    return unknown + rest


def _nearest(text: str, expected: Sequence[str]) -> str:
    """Return that of `expected` which `text` may have been meant to be, or ""."""
    return next(iter(difflib.get_close_matches(text, expected, 1, LEAST_ALIKE)), "")


def _meant(key: str, known: Sequence[str]) -> str:
    """Return the known key that a key was meant to be: what is before a colon or a point in it, or the nearest; or ""."""
    first = re.split("[:.]", key)[0]
    return first if first in known else _nearest(key, known)


def _location(error: Any) -> list[Any]:
    return [part for part in error["loc"] if not str(part).startswith(("function-", "tuple["))]


def shown(value: Any) -> str:
    """Return a value as it is quoted in an error."""
    return cut(repr(value))


def unknown_key(key: str, expected: list[str]) -> str:
    """Return the problem of a key that is none of those `expected`, with the nearest one as the fix."""
    key = cut(key)
    near = _nearest(key, expected) or _nearest(key.rsplit(".", 1)[-1], expected)
    names = near or f"one of {', '.join(sorted(expected))}"
    return f"{key}: unknown key (found {key!r}, expected {names}). Fix: {'' if near else 'remove or '}rename it"


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested dicts and lists as one dict of dotted keys, as `train.blocks.0.kernel`."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, (list, tuple)) else None
    if items is None or not tree:
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in items:
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _tuples(value: Any) -> Any:
    """YAML lists as tuples, which strict validation of frozen sections wants."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return value


def _explain(error: Any, kind: type[BaseModel], name: str) -> str:
    location, known = _walk(kind, _location(error))
    key, value = ".".join([name, *map(str, location)]), error["input"]
    match error["type"]:
        case "extra_forbidden":
            return _unknown(key, str(location[-1]), known)
        case "missing" if isinstance(location[-1], int):
            inside, found = key.rpartition(".")[0], shown(list(value))
            return (
                f"{inside}: too few values (found {found}, expected at least {location[-1] + 1}). Fix: add the others"
            )
        case "missing":
            return f"{key}: missing (expected keys {', '.join(known)}). Fix: add it"
        case "value_error":  # a rule of ours, whose message has the values and the fix
            return f"{key}: {error['ctx']['error']}"
        case "union_tag_invalid" | "union_tag_not_found":
            return _explain_tag(key, error)
        case "model_type" | "model_attributes_type":
            return (
                f"{key}: no section (found {shown(value)}, expected keys {', '.join(known)}). Fix: write them below it"
            )
    rule = error["msg"].partition(" should ")[2] or error["msg"]  # pydantic's "Input should be less than 1"
    rule = IN_WORDS.get(rule, rule)
    return f"{key}: invalid value (found {shown(value)}, expected it to {rule}). Fix: {_cure(error['type'], value)}"


IN_WORDS = {
    "be a valid boolean": "be true or false",
    "be a valid integer": "be a whole number",
    "be a valid string": "be a text",
    "be a valid tuple": "be a list in brackets",
    "be a valid dictionary": "be keys with values",
}
"""What pydantic says of types, and what a person calls them."""


def _explain_tag(key: str, error: Any) -> str:
    """Return the problem of a value that says by a key of its own, as `step`, what it is, and says it wrongly or not."""
    own, value = error["ctx"]["discriminator"].strip("'"), error["input"]
    if error["type"] == "union_tag_invalid":
        tag, tags = error["ctx"]["tag"], error["ctx"]["expected_tags"]
        near = _nearest(tag, re.findall("'(.*?)'", tags))
        expected, cure = (repr(near), "correct the name") if near else (f"one of {tags}", "name one")
        return f"{key}.{own}: invalid value (found {shown(tag)}, expected {expected}). Fix: {cure}"
    if isinstance(value, dict) and (near := _nearest(own, list(map(str, value)))):
        return unknown_key(f"{key}.{near}", [own])
    return f"{key}: no key `{own}` (found {shown(value)}, expected `{own}: NAME`). Fix: add it"


def _unknown(key: str, last: str, known: list[str]) -> str:
    """Return the problem of a key that is not `known`, also of one that goes on where a space or a line should be."""
    first, mark, rest = (*re.split("([:.])", last, maxsplit=1), "", "")[:3]
    if rest and first in known:
        problem = "no space after the colon" if mark == ":" else "a key with a point"
        expected = f"`{first}: {rest}`" if mark == ":" else f"`{first}:` and below it `{rest}:`"
        return f"{key}: {problem} (found {shown(last)}, expected {expected}). Fix: write that"
    return unknown_key(key, known)


def _cure(kind: str, value: Any) -> str:
    """Return how a value of the wrong type was meant, if that can be seen; `kind` is pydantic's name of the error."""
    if kind == "string_type" and value is not None and not isinstance(value, (dict, tuple)):
        return "put it in quotes"
    if kind == "bool_type" and str(value).lower() in ("true", "false"):
        return f"write {str(value).lower()} without quotes"
    return _number_meant(value, whole=kind.startswith("int")) or "correct the value"


def _number_meant(value: Any, whole: bool) -> str:
    """Return the cure of a number that is written as in other countries or as a percentage; "" of anything else."""
    if not (isinstance(value, str) and (match := re.fullmatch(r"(-?\d+)(?:[.,](\d+))?( ?%)?", value))):
        return ""
    digits, fraction, percent = match.groups(default="")
    if len(fraction) == 3 and "," in value and digits.strip("-0"):  # thousands
        return f"write {digits}{fraction} without a comma" if whole else ""
    return f"write {float(f'{digits}.{fraction or 0}') / (100 if percent else 1):g} without quotes"


def _walk(kind: type[BaseModel], location: list[Any]) -> tuple[list[Any], list[str]]:
    """Return the keys of a `location` inside `kind`, without pydantic's names of alternatives, and the fields known there."""
    sections, keys = [kind], list[Any]()
    for part in location:
        if chosen := [one for one in sections if len(sections) > 1 and part in _names_of(one)]:
            sections = chosen
            continue
        keys.append(part)
        if found := [one for one in sections if part in one.model_fields]:
            sections = sections_in(found[0].model_fields[part].annotation) or found
    return keys, list(sections[0].model_fields)


def _names_of(section: type[BaseModel]) -> set[str]:
    """Return the names by which pydantic knows one of several alternatives: that of the class, and its literals."""
    fields = section.model_fields.values()
    return {
        section.__name__,
        *(word for field in fields if get_origin(field.annotation) is Literal for word in get_args(field.annotation)),
    }


def section_in(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a field of this annotation holds, alone or in a list or mapping; None if it holds values."""
    return next(iter(sections_in(annotation)), None)


def sections_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the sections that a field of this annotation may hold, the alternatives in their order."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for argument in getattr(annotation, "__args__", ()) for section in sections_in(argument)]


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes`: mappings key by key, anything else whole; an empty mapping replaces a full one."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and value and isinstance(base.get(key), Mapping)
        result[key] = merged(base[key], value) if both else value
    return result


def overridden(section: S, name: str, changes: Mapping[str, Any]) -> S:
    """Return `section` (whose key in params.yaml is `name`) with dotted keys changed, as `train.blocks.0.kernel`.

    Raises UserError if a key does not exist or a value breaks a rule.
    """
    tree = section.model_dump(mode="json")  # lists, not tuples: they are changed in place
    for dotted, value in changes.items():
        *path, last = dotted.split(".")
        node: Any = {name: tree}
        for part in path:
            node = None if (key := _key(node, part)) is None else node[key]
        if not path or (key := _key(node, last)) is None:
            raise UserError(f"{PARAMS_FILE}: {unknown_key(dotted, list(flatten({name: section.model_dump()})))}")
        node[key] = value
    return validate_section(tree, type(section), name)


def _key(node: Any, part: str) -> str | int | None:
    """Return the key or index of `part` in a dict or list; None if there is none."""
    if isinstance(node, list):
        return int(part) if part.isdecimal() and len(part) < 10 and int(part) < len(node) else None
    return part if isinstance(node, dict) and part in node else None
