"""The meaning and the unit of each parameter stand in its Field, and nowhere else."""

import re
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from tests.conftest import ROOT
from xtcav_ml.config import base, params_file, prepare
from xtcav_ml.config.parameters import rows
from xtcav_ml.config.section_problems import sections_in
from xtcav_ml.notes2016.experiments import Experiment

STEPS = [prepare.SubtractDark, prepare.MendHotPixels, prepare.RegionOfInterest, prepare.BlockMean]
STEPS += [prepare.Clip, prepare.Contrast, prepare.Log]


def sections(kind: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield kind
    for field in kind.model_fields.values():
        if nested := next(iter(sections_in(field.annotation)), None):
            yield from sections(nested)


ALL = dict.fromkeys([*sections(params_file.Params), *STEPS, *sections(Experiment)])
FIELDS = [(kind, name) for kind in ALL for name in kind.model_fields if kind is not params_file.Params]


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_every_parameter_has_a_meaning_and_every_number_a_unit(kind, name):
    field = kind.model_fields[name]
    if next(iter(sections_in(field.annotation)), None) and field.description is None:
        assert kind.__doc__  # a section: its own parameters have theirs
        return
    assert field.description
    if re.search(r"\b(int|float)\b", str(field.annotation)):
        assert field.json_schema_extra["unit"]


def unbounded(schema: object, key: str) -> Iterator[str]:
    """Yield the keys of all numbers in a JSON schema that lack an end."""
    if isinstance(schema, list):
        schema = dict(enumerate(schema))
    if not isinstance(schema, dict):
        return
    ends = [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")]
    if schema.get("type") in ("integer", "number") and not all(schema.keys() & names for names in ends):
        yield key
    for name, value in schema.items():
        yield from unbounded(value, f"{key}.{name}")


@pytest.mark.parametrize("kind", [params_file.Params, Experiment])
def test_every_number_has_both_ends(kind):
    assert list(unbounded(kind.model_json_schema(), kind.__name__)) == []


def test_the_table_has_every_value_of_the_file():
    table = {row.key: row for row in rows(params_file.load_params(ROOT / "params.yaml"))}
    flat = base.flatten(base.read_tree(ROOT / "params.yaml"))
    for name, value in flat.items():
        assert any(name == key or name.startswith(f"{key}.") for key in table), name
        assert name not in table or table[name].value == value
    assert len(table.keys() & flat.keys()) > 70
    assert table["train.optimizer.clip_norm"][1:] == (
        None,
        False,
        None,
        ">= 1e-09, <= 1000000000 or null",
        "1",
        params_file.TrainParams.model_fields["optimizer"].annotation.model_fields["clip_norm"].description,
    )
    assert table["prepare.split.by"].allowed == "block, run, file"
    assert table["simulate.lasing.detuning"].allowed == ">= -100, <= 100"
    assert table["train.class_weights"].allowed == "true, false"
    assert table["train.epochs"].required


def test_the_comments_of_params_yaml_are_these_meanings():
    text = (ROOT / "params.yaml").read_text()
    assert commented(text) == text


def commented(text: str) -> str:
    """Return params.yaml with meaning and unit of its field behind each key; heads of sections have none."""
    lines, path = [], []
    for line in text.splitlines():
        found = re.fullmatch(r"(?P<indent> *)(?P<key>\w+):(?P<value>[^#]*?) *(#.*)?", line)
        if found is None:
            lines.append(line)
            continue
        path = [*path[: len(found["indent"]) // 2], found["key"]]
        meaning = comment(path)
        code = f"{found['indent']}{found['key']}:{found['value']}"
        lines.append(f"{code:28}  # {meaning}" if meaning else code)
    return "\n".join(lines) + "\n"


def comment(path: list[str]) -> str:
    kind, field = params_file.Params, None
    for part in path:
        field = kind.model_fields[part]
        kind = next(iter(sections_in(field.annotation)), None)
    unit = (field.json_schema_extra or {}).get("unit", "")
    return f"{field.description} [{unit}]" if unit not in ("", "1") else field.description or ""


def test_no_line_of_params_yaml_is_too_long():
    assert max(map(len, (ROOT / "params.yaml").read_text().splitlines())) <= 120
