"""All sections of params.yaml at once."""

from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

from xtcav_ml.config.base import Section, load_section, overridden, read_tree, unknown_key
from xtcav_ml.config.data import DataParams
from xtcav_ml.config.paths import PARAMS_FILE
from xtcav_ml.config.prepare import PrepareParams
from xtcav_ml.config.simulate import SimulateParams
from xtcav_ml.config.train import TrainParams
from xtcav_ml.config.tune import TuneParams
from xtcav_ml.system.errors import UserError


class Params(BaseModel, frozen=True):
    """params.yaml, valid."""

    data: DataParams
    simulate: SimulateParams
    prepare: PrepareParams
    train: TrainParams
    tune: TuneParams


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Return the whole file. Raises UserError with every broken key, and for an invalid name or value in `tune.space`."""
    names = list(Params.model_fields)
    problems = [unknown_key(str(key), names) for key in read_tree(path) if key not in names]
    sections: dict[str, Any] = {}
    for name, field in Params.model_fields.items():
        try:
            sections[name] = load_section(name, cast(type[Section], field.annotation), path)
        except UserError as error:
            problems.append(str(error).removeprefix(f"{path}: "))
    if problems:
        raise UserError(f"{path}: {'; '.join(problems)}")
    params = Params(**sections)
    for name, values in params.tune.space.items():
        for value in values.ends:
            try:
                overridden(params.train, "train", {name: value})
            except UserError as error:
                raise UserError(f"{path}: tune.space: {str(error).removeprefix(f'{PARAMS_FILE}: ')}") from None
    return params
