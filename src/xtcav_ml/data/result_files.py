"""The small JSON files in results/: what is in each, checked when it is read. What they hold beside that is kept."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from xtcav_ml.system.errors import reading

Number = float | None  # None is what could not be measured


class _Shares(BaseModel):
    precision: Number
    recall: Number
    shots: int


class _Errors(BaseModel):
    shots: int
    rms_error: Number
    spread: Number


class Metrics(BaseModel):
    """evaluation.json, of evaluate."""

    best_epoch: int
    shots: int
    regression: dict[str, _Errors] = {}


class ClassMetrics(Metrics):
    """evaluation.json where classes are learned."""

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    largest_class: float
    z_score: float
    confusion: list[list[int]]
    classes: dict[str, _Shares]


class _OnFront(BaseModel):
    """A trial that no other one beats in all objectives."""

    trial: int
    values: dict[str, float]
    params: dict[str, Any]
    train: dict[str, Any]
    better: bool | None = None
    verdict: str = ""


class Best(BaseModel):
    """best.json, of tune: the best trial, its own parameters, and all those of its training."""

    study: str
    trial: int
    score: float
    epochs: int
    params: dict[str, Any]
    train: dict[str, Any]
    better: bool | None = None  # than params.yaml, over seeds; None: not known
    verdict: str = ""  # on that
    front: list[_OnFront] = []


class _Mean(BaseModel):
    mean: float
    sd: float
    low: float
    high: float


class _Member(BaseModel):
    best_epoch: int


Seed = Annotated[str, Field(pattern="^[0-9]+$")]


class Group(BaseModel):
    """seeds.json, of seeds: results by seed, and of each quantity the mean over them with its spread."""

    group: str
    shots: int
    seeds: Annotated[dict[Seed, _Member], Field(min_length=2)]
    mean: dict[str, _Mean]


class Checked(BaseModel):
    """data.json, of check."""

    files: dict[str, int]
    bad_files: list[str]
    shots: int
    shots_by_run: dict[str, int]
    shots_with_number: dict[str, int]


class Address(BaseModel):
    """run.json, of record: where MLflow has the run of the results, and the tags that it is found by."""

    run_id: str
    experiment_id: str
    store: str


Usage = dict[str, float]
"""What a stage uses, by name and unit."""


def read_metrics(path: Path) -> dict[str, Any]:
    """Return evaluation.json. Raises UserError if it is missing or damaged."""
    content = read(path, Metrics)
    learned = {"confusion", "classes", "accuracy"} & content.keys()
    return read(path, ClassMetrics) if learned or not content.get("regression") else content


def read(path: Path, kind: Any, cure: str = "remove it, then run `make repro`") -> dict[str, Any]:
    """Return the content of a JSON file of this kind. Raises UserError with the `cure` if it is missing or damaged."""
    with reading(path, "JSON as this project writes it", cure):
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        try:
            TypeAdapter(kind).validate_python(content, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the whole"
            raise ValueError(f"{place}: {first['msg']}") from None
        return content


def read_if_there(path: Path, kind: Any) -> dict[str, Any]:
    """Return the same, empty if the file is missing."""
    return read(path, kind) if path.exists() else {}


def numbers(tree: Mapping[str, Any], before: str = "") -> dict[str, float]:
    """Return the numbers of evaluation.json, those in tables as `classes.t0.recall`; lists are in the artifact alone."""
    found: dict[str, float] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= numbers(value, f"{before}{name}.")
        elif isinstance(value, (int, float)):
            found[f"{before}{name}"] = value
    return found
