"""All parameters of params.yaml as a table, for `xtcav params` and for the description of a run in MLflow."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from xtcav_ml.config.params_file import Params


class Parameter(NamedTuple):
    """A row of the table: JSON values; a key that is not `required` has a `default`."""

    key: str
    value: Any
    required: bool
    default: Any
    allowed: str
    unit: str
    meaning: str


def rows(params: Params) -> list[Parameter]:
    """Return all parameters in the order of the sections. The unit of a pure number is "1", of no number ""."""
    return [row for name in type(params).model_fields for row in section_rows(getattr(params, name), name)]


def section_rows(section: BaseModel, key: str) -> Iterator[Parameter]:
    """Yield the parameters of a section, and of the sections in it; `key` is its dotted key."""
    fields, plain = type(section).model_json_schema()["properties"], section.model_dump(mode="json")
    for name in type(section).model_fields:
        value, field, dotted = getattr(section, name), fields[name], f"{key}.{name}"
        nested = (
            {f"{dotted}.{i}": item for i, item in enumerate(value)} if isinstance(value, tuple) else {dotted: value}
        )
        if nested and all(isinstance(item, BaseModel) for item in nested.values()):
            for item_key, item in nested.items():
                yield from section_rows(item, item_key)
        else:
            optional, default = "default" in field, field.get("default")
            about = (allowed_values(field), field.get("unit", ""), field.get("description", ""))
            yield Parameter(dotted, plain[name], not optional, default, *about)


def allowed_values(schema: Mapping[str, Any]) -> str:
    """Return the values that the JSON schema of a field allows, in a few words; of a list, those of its items."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(filter(None, map(allowed_values, schema["anyOf"]))))
    if "enum" in schema or "const" in schema:
        return ", ".join(schema.get("enum", [schema.get("const")]))
    for name in ("prefixItems", "items", "additionalProperties"):
        if isinstance(items := schema.get(name), (dict, list)):
            return ", ".join(dict.fromkeys(map(allowed_values, items if isinstance(items, list) else [items])))
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    limits = ", ".join(f"{sign} {schema[name]:.10g}" for name, sign in signs.items() if name in schema)
    return limits or str(schema.get("pattern") or schema.get("type", "")).replace("boolean", "true, false")
