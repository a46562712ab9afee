"""What is wrong with a section of params.yaml: key, problem, value and fix in words, in place of pydantic's."""

import difflib
import re
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from xtcav_ml.system.errors import cut

LEAST_ALIKE = 0.65  # of two names, 0 to 1, if one may be the other misspelt


def explain(error: ValidationError, kind: type[BaseModel], name: str) -> str:
    """Return the problems of a section of this `kind`, the causes first; `name` is its dotted key in the file."""
    return "; ".join(_explain(each, kind, name) for each in _causes(error.errors(), kind))


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


def sections_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the sections that a field of this annotation may hold, the alternatives in their order."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for argument in getattr(annotation, "__args__", ()) for section in sections_in(argument)]
