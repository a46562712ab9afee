"""Reading params.yaml: strict sections, unknown keys refused, all bounded before it is read."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import CollectionNode

from xtcav_ml.config import section_problems, yaml_problems
from xtcav_ml.config.paths import PARAMS_FILE
from xtcav_ml.config.section_problems import shown, unknown_key
from xtcav_ml.system.errors import UserError, cut

MOST_BYTES, MOST_VALUES, MOST_LEVELS, MOST_BITS = 2**16, 4000, 40, 64
"""Of a file of parameters, many times what one has: bytes, values or separators, levels of nesting, bits of an integer."""

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
        return kind.model_validate(tuples(value))
    except ValidationError as error:
        raise UserError(f"{path}: {section_problems.explain(error, kind, name)}") from None


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested dicts and lists as one dict of dotted keys, as `train.blocks.0.kernel`."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, (list, tuple)) else None
    if items is None or not tree:
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in items:
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def tuples(value: Any) -> Any:
    """YAML lists as tuples, which strict validation of frozen sections wants."""
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(tuples(item) for item in value)
    return value


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
