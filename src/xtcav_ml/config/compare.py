"""Section `compare`: how settings are compared, and what a model may lose to become the champion."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from xtcav_ml.config.base import Section, parameter, read_tree, validate_section
from xtcav_ml.config.paths import PARAMS_FILE
from xtcav_ml.system.errors import UserError

Seed = Annotated[int, Field(ge=0, lt=2**32)]


class CompareParams(Section):
    """Section `compare`. A params.yaml of before it had one is read as if it had these values."""

    seeds: tuple[Seed, ...] = parameter(
        "group of seeds that `make seeds` trains, with all else as in section train",
        "1",
        min_length=2,
        max_length=1000,
        default=(1, 2, 3, 4, 5),
    )
    margin: float = parameter(
        "loss that a new champion must stay below, of accuracy or of a number's s.d.",
        "fraction",
        gt=0,
        le=1,
        default=0.02,
    )

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: one is repeated (found {list(self.seeds)}, expected each once). Fix: remove it")
        return self


def require_compare(path: Path = PARAMS_FILE) -> None:
    """Raise UserError if the section is missing, since DVC reads the seeds there, or breaks a rule."""
    if "compare" not in read_tree(path):
        cure = f"add `compare: {{seeds: {list(CompareParams().seeds)}, margin: {CompareParams().margin}}}`"
        raise UserError(f"{path}: compare: missing (expected a section with the seeds of a group). Fix: {cure}")
    load_compare(path)


def load_compare(path: Path = PARAMS_FILE) -> CompareParams:
    """Return the section of params.yaml. Raises UserError if it breaks a rule."""
    return validate_section(read_tree(path).get("compare", {}), CompareParams, "compare", path)
